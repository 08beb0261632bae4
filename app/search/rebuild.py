"""Re-embedding: vectors of another encoder for references that are there, from their stored frames."""

from collections.abc import Callable

from app.domain import Frame
from app.encoders.base import Encoder
from app.encoders.batcher import Batcher
from app.images.reader import read_stored
from app.library.catalogue import Catalogue
from app.search.enroller import SECONDS_PER_IMAGE

_BATCH = 32


def reembed(
    catalogue: Catalogue,
    batcher: Batcher,
    encoder: Encoder,
    library: str,
    progress: Callable[[int], None] = lambda _done: None,
) -> int:
    """Embed every reference that has no vector of the encoder yet; returns how many.

    Each batch is stored as it comes, so an interrupted run goes on where it stopped.
    """
    missing = catalogue.embeddings.missing(library, encoder.digest)
    for start in range(0, len(missing), _BATCH):
        keys = missing[start : start + _BATCH]
        references = catalogue.get_many(keys)
        frames = [Frame(read_stored(catalogue.files.read(found.id)), found.facts) for found in references]
        vectors = batcher.encode(encoder, frames, deadline_s=SECONDS_PER_IMAGE * len(frames))
        catalogue.embeddings.add(library, encoder.name, encoder.digest, [found.id for found in references], vectors)
        progress(len(keys))
    return len(missing)
