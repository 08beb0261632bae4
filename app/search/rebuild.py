"""Re-embedding: vectors of another encoder for references that are there, from their stored frames."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from app.domain import Frame
from app.encoders.base import Encoder
from app.encoders.batcher import Batcher
from app.errors import NotFound
from app.images.reader import read_stored
from app.library.catalogue import Catalogue
from app.library.reference import Reference
from app.search.enroller import SECONDS_PER_IMAGE

_BATCH = 32
_ALWAYS_LOADED = "resnet-us"


def reembed_command(library: str, encoder: str) -> str:
    """What to type so that a library gets vectors of an encoder, whatever encoders are usually loaded."""
    names = "" if encoder == _ALWAYS_LOADED else f"SONOSEEK_ENCODERS__NAMES={encoder} "
    return f"{names}sonoseek reembed {library} --encoder {encoder}"


def reembed(
    catalogue: Catalogue,
    batcher: Batcher,
    encoder: Encoder,
    library: str,
    progress: Callable[[int], None] = lambda _done: None,
) -> int:
    """Embed every reference that has no vector of the encoder yet; returns how many got one.

    References that are removed or cropped anew meanwhile do not. Each batch is stored as it comes, so an interrupted
    run goes on where it stopped.
    """
    missing, embedded = catalogue.embeddings.missing(library, encoder.digest), 0
    for start in range(0, len(missing), _BATCH):
        keys = missing[start : start + _BATCH]
        stored = dict(_stored_frames(catalogue, keys))
        frames = [Frame(read_stored(png), found.facts) for found, png in stored.values()]
        if frames:
            vectors = batcher.encode(encoder, frames, deadline_s=SECONDS_PER_IMAGE * len(frames))
            checksums = {key: hashlib.sha256(png).hexdigest() for key, (_, png) in stored.items()}
            embedded += catalogue.embeddings.add(
                library, encoder.name, encoder.digest, list(stored), vectors, frames=checksums
            )
        progress(len(keys))
    return embedded


def _stored_frames(catalogue: Catalogue, keys: Sequence[str]) -> Iterator[tuple[str, tuple[Reference, bytes]]]:
    """References with their frames, without those that are removed meanwhile."""
    for found in catalogue.get_many(keys):
        with suppress(NotFound):
            yield found.id, (found, catalogue.frame(found.id))
