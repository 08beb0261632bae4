"""One worker in front of the device: batches, bounds, and errors that reach the right waiter."""

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from shade import BLANK, FATAL, POISON, Shade, frame, wait_for

from app.encoders.batcher import Batcher
from app.encoders.pending import caller_left
from app.errors import BadInput, Busy, CallerLeft, DeviceLost, NotFound, TimedOut, Unavailable


@pytest.fixture
def shade():
    return Shade()


@pytest.fixture
def batcher(shade):
    opened = Batcher([shade], batch_size=4, queue_size=8)
    yield opened
    shade.held.set()
    opened.close()


def hold_worker(shade, batcher, pool):
    """Keep the worker busy with one item, so that what comes next queues up."""
    shade.held.clear()
    first = pool.submit(batcher.encode, shade, [frame(1)])
    wait_for(lambda: batcher.waiting() == 0 and not first.done())
    return first


def test_each_caller_gets_its_own_vectors(batcher, shade):
    with ThreadPoolExecutor(8) as pool:
        levels = [10, 200, 60, 90, 30, 250, 128]
        results = list(pool.map(lambda level: batcher.encode(shade, [frame(level)])[0], levels))
    for level, vector in zip(levels, results, strict=True):
        expected = np.array([level, 255 - level]) / np.hypot(level, 255 - level)
        np.testing.assert_allclose(vector, expected, rtol=1e-6)


def test_what_waits_is_taken_as_a_batch_up_to_its_size(batcher, shade):
    with ThreadPoolExecutor(8) as pool:
        futures = [hold_worker(shade, batcher, pool)]
        futures += [pool.submit(batcher.encode, shade, [frame(level)]) for level in range(20, 26)]
        wait_for(lambda: batcher.waiting() == 6)
        shade.held.set()
        for future in futures:
            future.result(5)
    assert shade.batches == [1, 4, 2]


def queued(batcher, shade, pool, levels):
    """Futures of one caller for each level, all in the queue, in order, behind a held worker."""
    futures = []
    for number, level in enumerate(levels, start=1):
        futures.append(pool.submit(batcher.encode, shade, [frame(level)]))
        wait_for(lambda expected=number: batcher.waiting() == expected)
    return futures


def test_one_poisoned_image_fails_alone(batcher, shade):
    with ThreadPoolExecutor(8) as pool:
        first = hold_worker(shade, batcher, pool)
        good, bad, other, last = queued(batcher, shade, pool, (20, POISON, 30, 40))
        shade.held.set()
        assert first.result(5).shape == (1, 2)
        assert [future.result(5).shape for future in (good, other, last)] == [(1, 2)] * 3
        with pytest.raises(RuntimeError, match="poisoned"):
            bad.result(5)
    assert batcher.encode(shade, [frame(50)]).shape == (1, 2)  # and it goes on


@pytest.fixture
def wide(shade):
    opened = Batcher([shade], batch_size=16, queue_size=32)
    yield opened
    shade.held.set()
    opened.close()


def test_it_is_found_by_halving(wide, shade):
    with ThreadPoolExecutor(20) as pool:
        hold_worker(shade, wide, pool)
        futures = queued(wide, shade, pool, [20] * 5 + [POISON] + [30] * 10)
        shade.held.set()
        assert [future.exception(5) is None for future in futures] == [True] * 5 + [False] + [True] * 10
    assert shade.batches == [1, 16, 8, 4, 4, 2, 1, 1, 2, 8]


class Stepped(Shade):
    """Goes one pass for each step that it is given."""

    def __init__(self):
        super().__init__()
        self.steps = threading.Semaphore(0)

    def core(self, batch):
        self.steps.acquire(timeout=10)
        return super().core(batch)


def test_whoever_leaves_while_halves_are_tried_is_not_encoded(batcher):
    encoder = Stepped()
    with batcher.submit(encoder, [frame(10)]):
        wait_for(lambda: batcher.waiting() == 0)
        staying = batcher.submit(encoder, [frame(POISON), frame(20)])
        with batcher.submit(encoder, [frame(30), frame(40)]):
            encoder.steps.release(2)
            wait_for(lambda: encoder.batches == [1, 4])
        encoder.steps.release(10)
        with pytest.raises(RuntimeError, match="poisoned"):
            staying.vectors(5)
        batcher.encode(encoder, [frame(50)])
    assert encoder.batches == [1, 4, 2, 1, 1, 1]


def test_an_embedding_that_is_no_number_fails_alone_and_costs_no_second_pass(wide, shade):
    with ThreadPoolExecutor(8) as pool:
        hold_worker(shade, wide, pool)
        good, blank, other = queued(wide, shade, pool, (20, BLANK, 30))
        shade.held.set()
        assert [future.result(5).shape for future in (good, other)] == [(1, 2)] * 2
        with pytest.raises(BadInput) as caught:
            blank.result(5)
        assert caught.value.code == "no_embedding"
    assert shade.batches == [1, 3]


def test_a_lost_device_is_told_to_everyone_who_waits_and_who_comes(shade):
    told = []
    batcher = Batcher([shade], batch_size=2, queue_size=8, on_lost=lambda: told.append(batcher.lost))
    with ThreadPoolExecutor(8) as pool:
        first = hold_worker(shade, batcher, pool)
        futures = queued(batcher, shade, pool, (20, FATAL, 30, 40, 50))
        shade.held.set()
        assert first.result(5).shape == (1, 2)
        assert {type(future.exception(5)) for future in futures} == {DeviceLost}
    with pytest.raises(DeviceLost):
        batcher.encode(shade, [frame(60)])
    assert told == [True]
    assert shade.batches == [1, 2]  # nothing is tried on a device that is gone
    batcher.close()
    with pytest.raises(DeviceLost):
        batcher.encode(shade, [frame(60)])


def test_only_pictures_of_one_shape_share_a_batch(batcher, shade):
    with ThreadPoolExecutor(8) as pool:
        hold_worker(shade, batcher, pool)
        futures = []
        for number, side in enumerate((8, 16, 8)):
            futures.append(pool.submit(batcher.encode, shade, [frame(40, side)]))
            wait_for(lambda expected=number + 1: batcher.waiting() == expected)
        shade.held.set()
        assert all(future.result(5).shape == (1, 2) for future in futures)
    assert shade.batches == [1, 2, 1]  # the third did not wait for the second, nor the second for anyone else


def test_a_full_queue_says_busy_and_loses_nobody(batcher, shade):
    with ThreadPoolExecutor(12) as pool:
        hold_worker(shade, batcher, pool)
        futures = [pool.submit(batcher.encode, shade, [frame(40)] * 2) for _ in range(4)]
        wait_for(lambda: batcher.waiting() == 8)
        with pytest.raises(Busy):
            batcher.encode(shade, [frame(40)])
        shade.held.set()
        assert [len(future.result(5)) for future in futures] == [2] * 4


def test_what_waits_is_bounded_in_memory_too_and_loses_nobody(batcher, shade, monkeypatch):
    monkeypatch.setattr("app.encoders.batcher._MOST_BYTES", 3 * 8 * 8 * 4)  # three pictures of this size
    with ThreadPoolExecutor(12) as pool:
        hold_worker(shade, batcher, pool)
        futures = queued(batcher, shade, pool, (20, 30))
        for frames in ([frame(40)] * 2, [frame(40, 64)]):
            with pytest.raises(Busy):
                batcher.encode(shade, frames)
        futures.append(pool.submit(batcher.encode, shade, [frame(50)]))
        wait_for(lambda: batcher.waiting() == 3)
        shade.held.set()
        assert [len(future.result(5)) for future in futures] == [1] * 3
    assert len(batcher.encode(shade, [frame(40, 64)])) == 1  # larger than the limit, but nobody waits
    assert len(batcher.encode(shade, [frame(40)] * 8)) == 8  # and who was refused holds no place


class Counted(Shade):
    """Counts what it prepares; holds whoever prepares, and fails for a poisoned picture."""

    def __init__(self):
        super().__init__()
        self.prepared = 0
        self.preparing = threading.Event()
        self.preparing.set()

    def pre(self, frame):
        self.prepared += 1
        self.preparing.wait(10)
        if frame.pixels[0, 0] == POISON:
            raise BadInput("bad_frame", "cannot be prepared", hint="")
        return super().pre(frame)


def test_whoever_is_told_busy_has_prepared_nothing(batcher):
    counted = Counted()
    counted.preparing.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(batcher.encode, counted, [frame(40)] * 8)
        wait_for(lambda: counted.prepared == 1)
        with pytest.raises(Busy):  # its places are taken while it prepares
            batcher.encode(counted, [frame(40)])
        assert counted.prepared == 1
        counted.preparing.set()
        assert len(first.result(5)) == 8


def test_what_cannot_be_prepared_gives_its_places_back(batcher):
    for _ in range(2):
        with pytest.raises(BadInput):
            batcher.encode(Counted(), [frame(40)] * 7 + [frame(POISON)])
    assert len(batcher.encode(Counted(), [frame(40)] * 8)) == 8


def test_whoever_prepares_while_it_closes_is_told(batcher):
    counted = Counted()
    counted.preparing.clear()
    with ThreadPoolExecutor(2) as pool:
        asking = pool.submit(batcher.encode, counted, [frame(40)])
        wait_for(lambda: counted.prepared == 1)
        batcher.close()
        counted.preparing.set()
        with pytest.raises(Unavailable):
            asking.result(5)


def test_a_caller_that_gave_up_is_not_encoded_and_holds_no_place(batcher, shade):
    with ThreadPoolExecutor(8) as pool:
        first = hold_worker(shade, batcher, pool)
        with pytest.raises(TimedOut):
            batcher.encode(shade, [frame(40)] * 8, deadline_s=0.05)
        assert batcher.waiting() == 0
        later = pool.submit(batcher.encode, shade, [frame(60)] * 8)
        wait_for(lambda: batcher.waiting() == 8)
        shade.held.set()
        first.result(5)
        assert len(later.result(5)) == 8
    assert shade.batches == [1, 4, 4]


def test_what_is_there_is_given_however_late_it_is_asked_for(batcher, shade):
    with batcher.submit(shade, [frame(40)]) as pending:
        pending.vectors(5)
        assert pending.vectors(0).shape == (1, 2)


def test_a_caller_who_has_hung_up_is_not_waited_for(batcher, shade):
    left = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        hold_worker(shade, batcher, pool)

        def ask():
            caller_left.set(left.is_set)
            return batcher.encode(shade, [frame(40)])

        asking = pool.submit(ask)
        wait_for(lambda: batcher.waiting() == 1)
        left.set()
        with pytest.raises(CallerLeft):
            asking.result(5)
        assert batcher.waiting() == 0
        shade.held.set()


def test_closing_answers_everyone(shade):
    batcher = Batcher([shade], batch_size=1, queue_size=8)
    with ThreadPoolExecutor(8) as pool:
        first = hold_worker(shade, batcher, pool)
        late = pool.submit(batcher.encode, shade, [frame(40)])
        wait_for(lambda: batcher.waiting() == 1)
        closing = pool.submit(batcher.close)
        wait_for(lambda: batcher.closed)
        shade.held.set()
        closing.result(5)
        assert first.result(5).shape == (1, 2)
        with pytest.raises(Unavailable):
            late.result(5)
    with pytest.raises(Unavailable):
        batcher.encode(shade, [frame(40)])


def test_a_pass_that_gives_too_few_rows_is_an_error_for_all(batcher):
    class Short(Shade):
        def core(self, batch):
            return super().core(batch)[:0]

    with pytest.raises(RuntimeError, match="0 rows for 1 pictures"):
        batcher.encode(Short(), [frame(40)], deadline_s=5)
    assert batcher.encode(Shade(), [frame(40)]).shape == (1, 2)


def test_what_was_encoded_is_not_kept(batcher, shade):
    """A batch of large pictures takes hundreds of megabytes: the idle worker must not hold on to the last one."""
    prepared = []

    class Watched(Shade):
        def pre(self, frame):
            array = super().pre(frame)
            prepared.append(weakref.ref(array))
            return array

    batcher.encode(Watched(), [frame(40)])
    wait_for(lambda: prepared[0]() is None)


def test_encoders_by_name(batcher, shade):
    assert batcher.encoder(None) is shade
    assert batcher.encoder("shade") is shade
    with pytest.raises(NotFound) as caught:
        batcher.encoder("dino")
    assert "shade" in caught.value.hint
