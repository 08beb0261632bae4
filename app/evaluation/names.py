"""Which encoders can be judged over a library, by the names that a user knows."""

from __future__ import annotations

from collections.abc import Sequence

from app.encoders.weights import WeightStore
from app.errors import Conflict, NotFound
from app.evaluation.baselines import BASELINES, any_digest
from app.library.catalogue import Catalogue
from app.search.rebuild import reembed_command


def check_names(catalogue: Catalogue, weights: WeightStore, library: str, names: Sequence[str]) -> None:
    """Raise NotFound ``unknown_encoder`` for what is no encoder, no baseline and no digest of stored vectors."""
    counts = catalogue.embeddings.counts(library)
    stored = {encoder for encoder, _ in counts.values()}
    encoders = sorted({*weights.names(), *stored})
    for name in names:
        if name not in (*encoders, *counts, *BASELINES):
            raise NotFound(
                "unknown_encoder",
                f"there is no encoder {name!r}",
                hint=f"{library!r} has vectors of {', '.join(sorted(stored)) or 'none'}; baselines are "
                f"{', '.join(BASELINES)}; others can be embedded first: {', '.join(encoders)}",
            )


def complete_encoders(catalogue: Catalogue, library: str) -> list[str]:
    """The encoders that have a vector of every reference, in order of names; a digest where a name has two.

    Raises NotFound ``unknown_library``; Conflict ``vectors_missing`` where none has, BadInput ``no_labels`` where there
    are no references.
    """
    size = catalogue.library(library).size
    counts = catalogue.embeddings.counts(library)
    names = [name for name, _ in counts.values()]
    complete = sorted((name, digest) for digest, (name, count) in counts.items() if count == size)
    if complete:
        return [name if names.count(name) == 1 else digest for name, digest in complete]
    name, count = counts[any_digest(catalogue, library)]
    raise Conflict(
        "vectors_missing",
        f"no encoder has a vector of every reference of {library!r}; {name} has {count} of {size}",
        hint=f"run: {reembed_command(library, name)}",
    )
