"""How far a long command has come: bars on a terminal, else a line in ten seconds."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from app.terminal.console import err
from app.terminal.numbers import megabytes

_LINE_EVERY_S = 10.0


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A function that is told how many more are done: a bar on a terminal, else a line in ten seconds."""
    if not sys.stderr.isatty():
        yield _line_progress(what, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


@contextmanager
def stage_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A function that is told the stage, how many are done in it and of how many."""
    if not sys.stderr.isatty():
        yield _StageLines().tell
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(stage: str, done: int, of: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=of)
            progress.update(tasks[stage], completed=done)

        yield tell


@contextmanager
def transfer_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A function that is told a file, its bytes that are there and of how many (0: unknown)."""
    if not sys.stderr.isatty():
        lines = _StageLines()
        yield lambda file, done, of: lines.say(f"{file}: {megabytes(done)} of {megabytes(of) if of else 'unknown'}")
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=err) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(file: str, done: int, of: int) -> None:
            if file not in tasks:
                # What an earlier run brought came in no time: it would spoil the speed.
                tasks[file] = progress.add_task(file, total=of or None, completed=done)
            progress.update(tasks[file], completed=done, total=of or None)

        yield tell


class _StageLines:
    """A line in ten seconds, for logs and pipes."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def tell(self, stage: str, done: int, of: int) -> None:
        self.say(f"{stage}: {done} of {of}")

    def say(self, line: str) -> None:
        if time.monotonic() - self._last >= _LINE_EVERY_S:
            self._last = time.monotonic()
            err.print(line)


def _line_progress(what: str, total: int) -> Callable[[int], None]:
    lines, done = _StageLines(), 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        lines.tell(what, done, total)

    return advance
