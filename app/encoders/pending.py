"""Pictures on their way through an encoder, and whoever waits for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextvars import ContextVar
from dataclasses import dataclass, field

import numpy as np

from app.domain import Vectors
from app.encoders.base import Batch, Encoder, unit_length
from app.errors import CallerLeft, SonoSeekError, TimedOut

_LOOK_S = 0.25
"""How often somebody who waits looks whether his caller is still there."""

caller_left: ContextVar[Callable[[], bool]] = ContextVar("caller_left", default=lambda: False)
"""Whether the caller for whom this context works has hung up; the HTTP door sets it for each request."""


@dataclass(eq=False, slots=True)
class Item:
    """A prepared picture on its way; ``left`` once nobody waits for it any more."""

    encoder: Encoder
    prepared: Batch
    result: Future[Vectors] = field(default_factory=Future)
    left: bool = False

    def fits(self, other: Item) -> bool:
        """Whether both can go through the network in one batch."""
        return self.encoder is other.encoder and self.prepared.shape == other.prepared.shape

    def finish(self, features: Vectors) -> None:
        """Answer with the raw features (dim,); no usable embedding is this picture's fault alone."""
        try:
            vector = unit_length(features[np.newaxis])
        except SonoSeekError as error:
            self.result.set_exception(error)
        else:
            self.result.set_result(vector)

    def fail(self, error: Exception) -> None:
        """Answer with an error, unless there is an answer or nobody waits for one."""
        if self.result.running() or self.result.set_running_or_notify_cancel():
            self.result.set_exception(error)


class Pending:
    """Frames on their way through an encoder; leaving it as a context drops those that are not encoded yet."""

    def __init__(self, items: Sequence[Item], leave: Callable[[Sequence[Item]], None]) -> None:
        self._results = [item.result for item in items]
        self._items = items
        self._leave = leave

    def __enter__(self) -> Pending:
        return self

    def __exit__(self, *_error: object) -> None:
        self._leave(self._items)

    def vectors(self, deadline_s: float) -> Vectors:
        """Their unit-length embeddings (n, dim), waited for; raises TimedOut, CallerLeft, Unavailable or BadInput."""
        end = time.monotonic() + deadline_s
        late = wait(self._results, timeout=0).not_done
        while late:
            left_s = end - time.monotonic()
            if caller_left.get()():
                raise CallerLeft("caller_left", "the caller has hung up", hint="wait for the answer")
            if left_s <= 0:
                raise TimedOut(
                    "encoder_deadline",
                    f"the encoder did not answer within {deadline_s:g} seconds",
                    hint="try again later, or raise SONOSEEK_SERVER__DEADLINE_S",
                )
            late = wait(late, timeout=min(left_s, _LOOK_S)).not_done
        return np.concatenate([result.result() for result in self._results])
