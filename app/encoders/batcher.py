"""One worker thread that owns the device: a bounded queue in front of it, batches of what is there."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from app.domain import Frame, ImageFacts, Vectors
from app.encoders.base import Encoder
from app.encoders.pending import Item, Pending
from app.errors import Busy, DeviceLost, NotFound, Unavailable, device_lost, stopping
from app.logs import get_logger

_WARM_UP_S = 600.0
"""The largest encoders take half a minute for one picture on two cores."""

_MOST_BYTES = 1 << 30
"""Of prepared pictures that wait: 85 of the largest kind there is (SAM 2 at 1024 pixels)."""

log = get_logger("encoder")


class Batcher:
    """Encodes frames for many callers on one thread, one forward pass at a time.

    The queue is bounded in images, and in bytes where somebody waits already. The worker takes what is there,
    up to the batch size, and never waits for more. Items whose caller has gone are dropped. A batch that fails is
    tried again in halves, so that one poisoned image fails alone, and one that is too big for the memory goes
    through in parts. When an encoder raises DeviceLost, everyone who waits gets it, and everyone who comes;
    ``on_lost`` is called then.
    """

    def __init__(
        self,
        encoders: Iterable[Encoder],
        *,
        batch_size: int,
        queue_size: int,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.encoders = {encoder.name: encoder for encoder in encoders}
        self._batch_size = batch_size
        self._queue_size = queue_size
        self._on_lost = on_lost
        self._waiting: deque[Item] = deque()
        self._reserved = 0
        self._changed = threading.Condition()
        self.closed = False
        self.lost = False
        self._worker = threading.Thread(target=self._work, name="encoder", daemon=True)
        self._worker.start()

    @property
    def default(self) -> Encoder:
        """The encoder that is used where none is named."""
        return next(iter(self.encoders.values()))

    @property
    def digests(self) -> frozenset[str]:
        """The digests of all loaded encoders."""
        return frozenset(encoder.digest for encoder in self.encoders.values())

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

    def submit(self, encoder: Encoder, frames: Sequence[Frame]) -> Pending:
        """Put some frames into the queue and go on; raises Busy or Unavailable. To be used as a context."""
        self._reserve(len(frames))
        try:
            items = [Item(encoder, encoder.pre(frame)) for frame in frames]
        except BaseException:
            self._give_back(len(frames))
            raise
        self._enqueue(items)
        return Pending(items, self._leave)

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
            start = time.perf_counter()
            self.encode(encoder, [grey], deadline_s=_WARM_UP_S)
            seconds = round(time.perf_counter() - start, 2)
            log.info("warm", encoder=encoder.name, precision=encoder.precision, seconds=seconds)

    def close(self) -> None:
        """Stop the worker; callers that still wait get Unavailable."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
        self._worker.join(timeout=30)

    def _reserve(self, count: int) -> None:
        """Take places in the queue for pictures that are yet to be prepared: whoever gets none has no work."""
        with self._changed:
            if self.lost or self.closed:
                raise self._ending()
            taken = len(self._waiting) + self._reserved
            if taken + count > self._queue_size:
                raise _queue_full(taken)
            self._reserved += count

    def _give_back(self, count: int) -> None:
        with self._changed:
            self._reserved -= count

    def _enqueue(self, items: list[Item]) -> None:
        """Put prepared pictures into their reserved places."""
        with self._changed:
            self._reserved -= len(items)
            if self.lost or self.closed:
                raise self._ending()
            if self._waiting and _size(self._waiting) + _size(items) > _MOST_BYTES:
                raise _queue_full(len(self._waiting))
            self._waiting.extend(items)
            self._changed.notify()

    def _leave(self, items: Sequence[Item]) -> None:
        """Take those of some items out of the queue that have no answer yet: they hold no place there."""
        gone = [item for item in items if not item.result.done()]
        if not gone:
            return
        with self._changed:
            for item in gone:
                item.left = True
                item.result.cancel()
            self._waiting = deque(item for item in self._waiting if not item.left)

    def _work(self) -> None:
        while self._encode_next():
            pass
        self._answer(self._waiting)

    def _encode_next(self) -> bool:
        """Encode the next batch; False when there is none to come. Keeps no picture when it returns."""
        batch = self._next_batch()
        if not batch:
            return False
        start = time.perf_counter()
        try:
            _run(batch)
        except DeviceLost:
            self._lose(batch)
            return False
        milliseconds = round(1000 * (time.perf_counter() - start), 1)
        log.debug("batch", encoder=batch[0].encoder.name, images=len(batch), ms=milliseconds)
        return True

    def _next_batch(self) -> list[Item]:
        """The first item and those behind it that fit it, also past others; empty when the batcher closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self.closed)
            if self.closed:
                return []
            first = self._waiting[0]
            batch = [item for item in self._waiting if item.fits(first)][: self._batch_size]
            taken = set(map(id, batch))
            self._waiting = deque(item for item in self._waiting if id(item) not in taken)
            for item in batch:  # they cannot have been cancelled: who leaves also leaves the queue
                item.result.set_running_or_notify_cancel()
            return batch

    def _lose(self, batch: list[Item]) -> None:
        log.critical("device lost", encoder=batch[0].encoder.name, images=len(batch))
        with self._changed:
            self.lost = True
        self._on_lost()  # first: nobody who has got an answer may still find the service ready
        self._answer([*batch, *self._waiting])

    def _answer(self, items: Iterable[Item]) -> None:
        for item in list(items):
            if not item.result.done():
                item.fail(self._ending())

    def _ending(self) -> Unavailable:
        """What everyone is told from now on."""
        return device_lost() if self.lost else stopping()


def _size(items: Iterable[Item]) -> int:
    """Bytes of the prepared pictures."""
    return sum(item.prepared.nbytes for item in items)


def _queue_full(waiting: int) -> Busy:
    return Busy("encoder_queue_full", f"{waiting} images already wait for the encoder", hint="try again in a second")


def _run(items: Sequence[Item]) -> None:
    """Answer every item, in halves where all together fail; raises DeviceLost."""
    # While another half was tried, callers may have gone.
    items = [item for item in items if not item.left]
    if not items:
        return
    error = _try(items)
    if isinstance(error, DeviceLost):
        raise error
    if error is None:
        return
    if len(items) == 1:
        items[0].fail(error)
        return
    log.warning("batch failed", encoder=items[0].encoder.name, images=len(items), error=type(error).__name__)
    del error  # its frames would keep what the failed pass has put into memory
    middle = len(items) // 2
    _run(items[:middle])
    _run(items[middle:])


def _try(items: Sequence[Item]) -> Exception | None:
    """One forward pass that answers every item, or what kept it from that."""
    try:
        features = items[0].encoder.core(np.stack([item.prepared for item in items]))
        if len(features) != len(items):
            raise RuntimeError(f"{len(features)} rows for {len(items)} pictures")
    except Exception as error:  # every waiter must hear of it, whatever it is
        return error
    for item, row in zip(items, features, strict=True):
        item.finish(row)
    return None
