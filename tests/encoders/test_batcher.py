"""One worker in front of the device: batches, bounds, and errors that reach the right waiter."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from app.domain import Frame, ImageFacts
from app.encoders.batcher import Batcher
from app.errors import BadInput, Busy, NotFound, TimedOut, Unavailable


class Shade:
    """A real, tiny encoder: the mean grey level and its complement. Records its batches; can be held."""

    name, dim, digest, precision = "shade", 2, "sha256:shade", "fp32"

    def __init__(self):
        self.batches = []
        self.held = threading.Event()
        self.held.set()

    def pre(self, frame):
        return frame.pixels.astype(np.float32)[np.newaxis]

    def core(self, batch):
        self.held.wait(10)
        self.batches.append(len(batch))
        means = batch.mean(axis=(1, 2, 3))
        if (means == 13).any():
            raise RuntimeError("poisoned")
        return np.stack([means, 255 - means], axis=1).astype(np.float32)


def frame(level, side=8):
    pixels = np.full((side, side), level, dtype=np.uint8)
    return Frame(pixels, ImageFacts(sha256="", format="png", width=side, height=side))


@pytest.fixture
def shade():
    return Shade()


@pytest.fixture
def batcher(shade):
    opened = Batcher([shade], batch_size=4, queue_size=8)
    yield opened
    shade.held.set()
    opened.close()


def wait_for(condition):
    for _ in range(1000):
        if condition():
            return
        threading.Event().wait(0.005)
    raise AssertionError("waited in vain")


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


def test_one_poisoned_image_fails_alone(batcher, shade):
    with ThreadPoolExecutor(8) as pool:
        first = hold_worker(shade, batcher, pool)
        good = [pool.submit(batcher.encode, shade, [frame(level)]) for level in (20, 30)]
        bad = pool.submit(batcher.encode, shade, [frame(13)])
        wait_for(lambda: batcher.waiting() == 3)
        shade.held.set()
        assert first.result(5).shape == (1, 2)
        assert [future.result(5).shape for future in good] == [(1, 2), (1, 2)]
        with pytest.raises(RuntimeError, match="poisoned"):
            bad.result(5)
    assert batcher.encode(shade, [frame(50)]).shape == (1, 2)  # and it goes on


def test_pictures_of_other_shapes_do_not_share_a_batch(batcher, shade):
    with ThreadPoolExecutor(8) as pool:
        hold_worker(shade, batcher, pool)
        futures = []
        for number, side in enumerate((8, 16, 8)):
            futures.append(pool.submit(batcher.encode, shade, [frame(40, side)]))
            wait_for(lambda expected=number + 1: batcher.waiting() == expected)
        shade.held.set()
        assert all(future.result(5).shape == (1, 2) for future in futures)
    assert shade.batches == [1, 1, 1, 1]


def test_a_full_queue_says_busy_and_loses_nobody(batcher, shade):
    with ThreadPoolExecutor(12) as pool:
        hold_worker(shade, batcher, pool)
        futures = [pool.submit(batcher.encode, shade, [frame(40)] * 2) for _ in range(4)]
        wait_for(lambda: batcher.waiting() == 8)
        with pytest.raises(Busy):
            batcher.encode(shade, [frame(40)])
        shade.held.set()
        assert [len(future.result(5)) for future in futures] == [2] * 4


def test_a_caller_that_gave_up_is_not_encoded(batcher, shade):
    with ThreadPoolExecutor(8) as pool:
        first = hold_worker(shade, batcher, pool)
        with pytest.raises(TimedOut):
            batcher.encode(shade, [frame(40)], deadline_s=0.05)
        shade.held.set()
        first.result(5)
        batcher.encode(shade, [frame(60)])
    assert sum(shade.batches) == 2


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


def test_a_blank_embedding_is_refused(batcher, shade):
    class Zero(Shade):
        def core(self, batch):
            return np.zeros((len(batch), 2), dtype=np.float32)

    with pytest.raises(BadInput) as caught:
        batcher.encode(Zero(), [frame(40)])
    assert caught.value.code == "no_embedding"


def test_encoders_by_name(batcher, shade):
    assert batcher.encoder(None) is shade
    assert batcher.encoder("shade") is shade
    with pytest.raises(NotFound) as caught:
        batcher.encoder("dino")
    assert "shade" in caught.value.hint
