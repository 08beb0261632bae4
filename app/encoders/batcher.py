"""One worker thread that owns the device: a bounded queue in front of it, batches of what is there."""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field

import numpy as np

from app.domain import Frame, ImageFacts, Vectors
from app.encoders.base import Batch, Encoder, unit_length
from app.errors import Busy, NotFound, TimedOut, stopping


@dataclass(eq=False, slots=True)
class _Item:
    encoder: Encoder
    prepared: Batch
    result: Future[Vectors] = field(default_factory=Future)

    def fits(self, other: "_Item") -> bool:
        """Whether both can go through the network in one batch."""
        return self.encoder is other.encoder and self.prepared.shape == other.prepared.shape


class Pending:
    """Frames on their way through an encoder; leaving it as a context drops those that are not encoded yet."""

    def __init__(self, results: Sequence[Future[Vectors]]) -> None:
        self._results = results

    def __enter__(self) -> "Pending":
        return self

    def __exit__(self, *_error: object) -> None:
        for result in self._results:
            result.cancel()

    def vectors(self, deadline_s: float) -> Vectors:
        """Their unit-length embeddings (n, dim), waited for; raises TimedOut, Unavailable or BadInput."""
        _, late = wait(self._results, timeout=deadline_s)
        if late:
            raise TimedOut(
                "encoder_deadline",
                f"the encoder did not answer within {deadline_s:g} seconds",
                hint="try again later, or raise SONOSEEK_SERVER__DEADLINE_S",
            )
        return np.concatenate([result.result() for result in self._results])


class Batcher:
    """Encodes frames for many callers on one thread, one forward pass at a time.

    The queue is bounded in images. The worker takes what is there, up to the batch size, and never waits
    for more. Items whose caller has gone are skipped; in a batch that fails, each item is tried alone,
    so that one poisoned image fails alone.
    """

    def __init__(self, encoders: Iterable[Encoder], *, batch_size: int, queue_size: int) -> None:
        self.encoders = {encoder.name: encoder for encoder in encoders}
        self._batch_size = batch_size
        self._queue_size = queue_size
        self._waiting: deque[_Item] = deque()
        self._changed = threading.Condition()
        self.closed = False
        self._worker = threading.Thread(target=self._work, name="encoder", daemon=True)
        self._worker.start()

    @property
    def default(self) -> Encoder:
        """The encoder that is used where none is named."""
        return next(iter(self.encoders.values()))

    def encoder(self, name: str | None) -> Encoder:
        """A loaded encoder, the default without a name; raises NotFound ``unknown_encoder``."""
        if name is None:
            return self.default
        if name not in self.encoders:
            raise NotFound(
                "unknown_encoder",
                "no encoder of that name is loaded",
                hint=f"loaded are: {', '.join(self.encoders)}; SONOSEEK_ENCODERS__NAMES loads others",
            )
        return self.encoders[name]

    def submit(self, encoder: Encoder, frames: Sequence[Frame]) -> "Pending":
        """Put some frames into the queue and go on; raises Busy or Unavailable. To be used as a context."""
        items = [_Item(encoder, encoder.pre(frame)) for frame in frames]
        self._enqueue(items)
        return Pending([item.result for item in items])

    def encode(self, encoder: Encoder, frames: Sequence[Frame], *, deadline_s: float = 60.0) -> Vectors:
        """Unit-length embeddings (n, dim) of some frames; raises Busy, TimedOut, Unavailable or BadInput."""
        with self.submit(encoder, frames) as pending:
            return pending.vectors(deadline_s)

    def waiting(self) -> int:
        """How many images wait for the encoder."""
        return len(self._waiting)

    def warm_up(self) -> None:
        """Run every encoder once, so that the first caller does not pay for it."""
        grey = Frame(np.full((64, 64), 128, dtype=np.uint8), ImageFacts(sha256="", format="png", width=64, height=64))
        for encoder in self.encoders.values():
            self.encode(encoder, [grey])

    def close(self) -> None:
        """Stop the worker; callers that still wait get Unavailable."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
        self._worker.join(timeout=30)

    def _enqueue(self, items: list[_Item]) -> None:
        with self._changed:
            if self.closed:
                raise stopping()
            if len(self._waiting) + len(items) > self._queue_size:
                raise Busy(
                    "encoder_queue_full",
                    f"{len(self._waiting)} images already wait for the encoder",
                    hint="try again in a second",
                )
            self._waiting.extend(items)
            self._changed.notify()

    def _work(self) -> None:
        while batch := self._next_batch():
            live = [item for item in batch if item.result.set_running_or_notify_cancel()]
            if live:
                _run(live)
        for item in self._waiting:
            if item.result.set_running_or_notify_cancel():
                item.result.set_exception(stopping())

    def _next_batch(self) -> list[_Item]:
        """The first item and those behind it that fit it; empty when the batcher closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self.closed)
            if self.closed:
                return []
            batch = [self._waiting.popleft()]
            while self._waiting and len(batch) < self._batch_size and self._waiting[0].fits(batch[0]):
                batch.append(self._waiting.popleft())
            return batch


def _run(items: list[_Item]) -> None:
    try:
        vectors = unit_length(items[0].encoder.core(np.stack([item.prepared for item in items])))
    except Exception as error:  # every waiter must hear of it, whatever it is
        if len(items) == 1:
            items[0].result.set_exception(error)
            return
        for item in items:
            _run([item])
        return
    for row, item in enumerate(items):
        item.result.set_result(vectors[row : row + 1])
