"""What an interrupted evaluation had finished: the rankings and figures of each encoder, to go on from."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from pydantic import ConfigDict, TypeAdapter, with_config

from app.domain import Vectors
from app.evaluation.ground import Contestant, Ground
from app.evaluation.patient_report import ContestantReport, Rankings, Settings
from app.evaluation.protocol import Protocol, Ranked
from app.evaluation.state import digest_of, state_of_code, state_of_ground, state_of_vectors

FOLDER = ".partial"
_NOT_THERE = (OSError, ValueError, KeyError, EOFError, BadZipFile)  # or cut off while it was written
_ARRAYS = ("queries", "gallery", "neighbours", "distances", "visible")


class Partial:
    """Keeps finished encoders in a folder of their own beside the report; without a folder it keeps nothing.

    What was made of other labels, vectors or settings, or by other code, is not used. A folder that cannot be written
    keeps nothing either: an evaluation does not end by it.
    """

    def __init__(self, folder: Path | None, ground: Ground, kinds: Sequence[str], settings: Settings) -> None:
        self._folder = None if folder is None else folder / FOLDER
        self._rests_on = (state_of_ground(ground), repr((list(kinds), settings)), state_of_code())

    def load(self, contestant: Contestant) -> tuple[Rankings, ContestantReport] | None:
        """The rankings and figures of a contestant, if an earlier run has finished them."""
        if self._folder is None:
            return None
        path = self._path(contestant)
        try:
            rankings = _rankings(contestant.name, _read(path.with_suffix(".npz")))
            return rankings, _figures().validate_json(path.with_suffix(".json").read_bytes())
        except _NOT_THERE:
            return None

    def save(self, contestant: Contestant, rankings: Rankings, report: ContestantReport) -> None:
        """Keep what has been finished."""
        if self._folder is None:
            return
        path = self._path(contestant)
        with suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            _write(path.with_suffix(".npz"), _arrays(rankings))
            finished = path.with_suffix(".tmp")
            finished.write_bytes(_figures().dump_json(report))
            finished.replace(path.with_suffix(".json"))  # last: what has no figures is not finished

    def _path(self, contestant: Contestant) -> Path:
        assert self._folder is not None
        return self._folder / digest_of(*self._rests_on, state_of_vectors(contestant))


class PartialVectors:
    """Keeps vectors that are computed anew, some rows at a time, beside the report; without a folder it keeps nothing.

    They are found again where all texts that they rest on are the same. A folder that cannot be written keeps nothing.
    """

    def __init__(self, folder: Path | None = None, *rests_on: str) -> None:
        self._folder = None if folder is None else folder / FOLDER
        self._rests_on = rests_on

    def get(self, rows: range, what: Sequence[str], compute: Callable[[], Sequence[Vectors]]) -> Sequence[Vectors]:
        """The vectors of some rows, one array for each name in ``what``: from an earlier run, or computed and kept."""
        if self._folder is None:
            return compute()
        path = self._folder / f"{digest_of(*self._rests_on, repr(rows), *what)}.npz"
        try:
            kept = _read(path)
            return [kept[str(place)] for place in range(len(what))]
        except _NOT_THERE:
            found = compute()
        with suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            _write(path, {str(place): one for place, one in enumerate(found)})
        return found


def forget_partial(folder: Path) -> None:
    """Delete what a finished evaluation needs no more."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def _read(path: Path) -> dict[str, Any]:
    # NumPy leaves a file open that it finds to be no archive.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _write(path: Path, arrays: Mapping[str, Any]) -> None:
    """All of a file or nothing of it."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    part.replace(path)


@cache
def _figures() -> TypeAdapter[ContestantReport]:
    return TypeAdapter(with_config(ConfigDict(ser_json_inf_nan="constants"))(ContestantReport))


def _arrays(rankings: Rankings) -> dict[str, Any]:
    return {
        f"{protocol.value} {kind} {name}": getattr(ranked, name)
        for protocol, by_kind in rankings.items()
        for kind, ranked in by_kind.items()
        for name in _ARRAYS
    }


def _rankings(contestant: str, arrays: dict[str, Any]) -> Rankings:
    found: dict[Protocol, dict[str, Ranked]] = {}
    for protocol, kind in dict.fromkeys(tuple(name.split(" ")[:2]) for name in arrays):
        fields = {name: arrays[f"{protocol} {kind} {name}"] for name in _ARRAYS}
        found.setdefault(Protocol(protocol), {})[kind] = Ranked(contestant, Protocol(protocol), kind, **fields)
    return found
