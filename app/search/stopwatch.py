"""Where the time of one search went."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Times named stages; the total counts from its making."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Time one stage, or more of it."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._stages[stage] = self._stages.get(stage, 0.0) + time.perf_counter() - begin

    def milliseconds(self) -> dict[str, float]:
        """Stage -> milliseconds, and the total so far."""
        total = time.perf_counter() - self._start
        return {stage: round(1000 * s, 3) for stage, s in {**self._stages, "total": total}.items()}
