"""How fast encoders are, as shares of what the machine's own matrix products reach in the same run."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.domain import Frame, ImageFacts
from app.encoders.base import Batch, Encoder
from app.encoders.weights import WeightStore
from app.errors import SonoSeekError, Unavailable

if TYPE_CHECKING:
    from app.encoders.device import Placement

BATCHES = (1, 2, 4, 8, 16)
_SECONDS = 4.0
"""How long each batch size is measured."""

_RUNS = 3
"""And how often at least."""


@dataclass(frozen=True, slots=True)
class Row:
    """One encoder in one precision. ``ms`` is of batch 1; ``images_per_s`` and the share are of the best batch.

    ``threads`` are those that the encoder takes, and on which the products were computed that it is compared with.
    """

    encoder: str
    precision: str
    batch: int
    threads: int
    ms: float
    images_per_s: float
    gflop: float
    gflop_per_s: float
    gemm_gflop_per_s: float
    share_of_gemm: float
    rss_mb: int
    start_s: float
    random_weights: bool

    @property
    def minutes_per_10000(self) -> float:
        """Minutes to embed 10,000 images at the best batch."""
        return 10_000 / self.images_per_s / 60


@dataclass(frozen=True, slots=True)
class Order:
    """What a measuring process is asked for."""

    encoder: str
    precision: str
    models: Path
    device: str
    threads: int
    batches: tuple[int, ...]
    random_weights: bool
    born: float


def measure_encoders(
    encoders: Sequence[str],
    precisions: Sequence[str],
    models: Path,
    *,
    device: str = "auto",
    threads: int = 0,
    batches: Sequence[int] = BATCHES,
    random_weights: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[dict[str, object], list[Row]]:
    """The machine and a row per encoder and precision, each measured in a process of its own.

    An encoder that knows one precision only gives one row. Raises what opening the encoder raises.
    """
    machine: dict[str, object] = {}
    rows: list[Row] = []
    for encoder in encoders:
        for precision in precisions:
            progress(f"{encoder} {precision}")
            order = Order(encoder, precision, models, device, threads, tuple(batches), random_weights, time.time())
            machine, row = _in_own_process(order)
            if (row.encoder, row.precision) not in {(known.encoder, known.precision) for known in rows}:
                rows.append(row)
    return machine, rows


def _in_own_process(order: Order) -> tuple[dict[str, object], Row]:
    """Peak memory and the time of a start can only be told of a fresh process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(order, theirs))
    process.start()
    theirs.close()
    try:
        answer = ours.recv()
    except EOFError:
        raise Unavailable(
            "measurement_died",
            f"the process that measured {order.encoder} was ended from outside",
            hint="most likely the memory was full: take smaller --batches or one encoder at a time",
        ) from None
    finally:
        process.join()
    if isinstance(answer, BaseException):
        raise answer
    return answer  # type: ignore[no-any-return]


def _measure(order: Order, answer: Connection) -> None:
    try:
        answer.send(_machine_and_row(order))
    except SonoSeekError as error:
        answer.send(error)


def _machine_and_row(order: Order) -> tuple[dict[str, object], Row]:
    from app.bench.flops import gflop_per_image
    from app.bench.machine import describe_machine, gemm_rate, peak_memory_mb
    from app.encoders.device import choose_placement
    from app.encoders.random_weights import RandomWeights
    from app.encoders.registry import open_folder

    placement = choose_placement(order.device, order.precision, order.threads)
    folder = WeightStore(order.models).find(order.encoder)
    is_random = order.random_weights and not folder.installed
    encoder = open_folder(RandomWeights(folder.folder, folder.manifest) if is_random else folder, placement)
    placement = choose_placement(order.device, encoder.precision, order.threads)  # some know one only
    batch = _batch_of(encoder, max(order.batches))
    encoder.core(batch[:1])
    start_s = time.time() - order.born
    products = compared_with(encoder, batch[:1], placement)
    # Other processes of the machine come and go: the products are measured before and after.
    before = gemm_rate(products)
    times = {size: _median_s(encoder, batch[:size]) for size in order.batches}
    gemm = statistics.mean((before, gemm_rate(products)))
    best = min(times, key=lambda size: times[size] / size)
    images_per_s, gflop = best / times[best], gflop_per_image(encoder, batch)
    row = Row(
        encoder=encoder.name,
        precision=encoder.precision,
        batch=best,
        threads=products.threads,
        ms=round(1000 * times[1], 2),
        images_per_s=round(images_per_s, 2),
        gflop=round(gflop, 2),
        gflop_per_s=round(gflop * images_per_s, 1),
        gemm_gflop_per_s=round(gemm, 1),
        share_of_gemm=round(gflop * images_per_s / gemm, 3),
        rss_mb=peak_memory_mb(placement),
        start_s=round(start_s, 2),
        random_weights=is_random,
    )
    return describe_machine(placement), row


def compared_with(encoder: Encoder, batch: Batch, placement: Placement) -> Placement:
    """Where the products are to run that an encoder is compared with: on the threads that it takes itself."""
    import torch

    encoder.core(batch)  # it sets them: a small one takes one thread where others take every core
    return replace(placement, threads=torch.get_num_threads())


def _batch_of(encoder: Encoder, size: int) -> Batch:
    """Synthetic frames, prepared: the network's time does not depend on what they show."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (480, 640), dtype=np.uint8) for _ in range(size)]
    facts = ImageFacts(sha256="", format="png", width=640, height=480)
    return np.stack([encoder.pre(Frame(pixels, facts)) for pixels in pictures])


def _median_s(encoder: Encoder, batch: Batch) -> float:
    """Seconds of one forward pass."""
    encoder.core(batch)
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < _RUNS or time.perf_counter() - begin < _SECONDS:
        start = time.perf_counter()
        encoder.core(batch)
        times.append(time.perf_counter() - start)
    return statistics.median(times)
