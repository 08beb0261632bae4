"""The vectors behind the DreamSim score: the query's on its way, the neighbours' from the library."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from app.domain import Frame, Vectors
from app.encoders.base import Encoder
from app.encoders.batcher import Batcher
from app.encoders.pending import Pending
from app.errors import SonoSeekError
from app.library.catalogue import Catalogue
from app.scores.registry import DREAMSIM

ENCODER = "dreamsim-ensemble"
"""The encoder whose embeddings the score compares."""

NOT_INSTALLED = (
    f"the weights of {ENCODER} are not installed: run sonoseek models fetch {ENCODER}, or in a closed network "
    f"sonoseek models add {ENCODER} PATH, and start the service again; histogram and mse are unaffected"
)
SWITCHED_OFF = f"SONOSEEK_ENCODERS__DREAMSIM_SCORES is false and {ENCODER} is not among SONOSEEK_ENCODERS__NAMES"


class DreamSimVectors:
    """Gets the vectors that the score needs, where ``dreamsim-ensemble`` is loaded; ``why_not`` says why it is not."""

    def __init__(self, catalogue: Catalogue, batcher: Batcher, *, why_not: str) -> None:
        self._catalogue = catalogue
        self._batcher = batcher
        self._encoder: Encoder | None = batcher.encoders.get(ENCODER)
        self._why_not = why_not

    @contextmanager
    def submit(
        self,
        frames: Sequence[Frame],
        scores: Sequence[str],
        searching: Encoder,
        pending: Pending,
        *,
        library: str | None = None,
        needed: bool = False,
    ) -> Iterator["Perceived"]:
        """Put frames into the queue if the score is wanted and can be had.

        ``pending`` are the same frames on their way through the ``searching`` encoder: nothing is computed again
        where that is DreamSim itself, and nothing at all for a library that has no vectors to compare with.
        A score that nobody named must not keep an answer from being given: unless it is ``needed``, what goes
        wrong with it is told by ``Perceived.failure``.
        """
        if self._encoder is None or DREAMSIM not in scores:
            yield Perceived(None)
        elif self._encoder is searching:
            yield Perceived(pending, needed=True)
        elif library is not None and not self._catalogue.embeddings.any(library, self._encoder.digest):
            yield Perceived(None)
        else:
            try:
                own = self._batcher.submit(self._encoder, frames)
            except SonoSeekError as error:
                if needed:
                    raise
                yield Perceived(None, failure=_failed(error))
                return
            with own:
                yield Perceived(own, needed=needed)

    def stored(self, keys: Sequence[str], scores: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Id -> vector of those of some references that have one, if the score is wanted."""
        if self._encoder is None or DREAMSIM not in scores:
            return {}
        return self._catalogue.embeddings.many(keys, self._encoder.digest)

    def missing(self) -> dict[str, str]:
        """Why the score is null for every pair, where there is no encoder."""
        return {DREAMSIM: self._why_not} if self._encoder is None else {}


def without_vectors(who: str, library: str) -> dict[str, str]:
    """Why the score is null where a reference has no vector, and the command that makes one."""
    return {DREAMSIM: f"{who} no DreamSim vector: run sonoseek reembed {library} --encoder {ENCODER}"}


class Perceived:
    """Frames on their way through DreamSim, or none; ``failure`` says what went wrong with them."""

    def __init__(self, pending: Pending | None, *, needed: bool = False, failure: str | None = None) -> None:
        self._pending = pending
        self._needed = needed
        self.failure = failure

    def vectors(self, deadline_s: float) -> Vectors | None:
        """Their vectors, waited for; None where there are none. Raises as ``Pending`` does if they are needed."""
        if self._pending is None:
            return None
        try:
            return self._pending.vectors(deadline_s)
        except SonoSeekError as error:
            if self._needed:
                raise
            self.failure = _failed(error)
            return None


def both_vectors(pending: Pending, perceived: Perceived, deadline_s: float) -> tuple[Vectors, Vectors | None]:
    """The vectors of the search and those of the score, waited for within one deadline; raises as ``Pending`` does."""
    end = time.monotonic() + deadline_s
    vectors = pending.vectors(deadline_s)
    return vectors, perceived.vectors(max(0.0, end - time.monotonic()))


def _failed(error: SonoSeekError) -> str:
    return f"DreamSim gave no vector of this image ({error.code}: {error.detail}); {error.hint}"
