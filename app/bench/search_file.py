"""The JSON file of the search benchmark: machine, rows, floors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Self

from app.bench.search import Floor, Row
from app.errors import BadInput

_MEASURED = ("numpy", "scipy", "scikit-learn", "qdrant-client", "faiss-cpu")


@dataclass(slots=True)
class SearchFile:
    """What was measured so far; a row that is measured again takes the place of the older one."""

    machine: dict[str, object] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    floors: list[Floor] = field(default_factory=list)

    @classmethod
    def read(cls, file: Path) -> Self:
        """The file, or nothing where there is none; raises BadInput ``bad_bench_file``."""
        if not file.exists():
            return cls()
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            rows = [Row(**row) for row in document["rows"]]
            return cls(document["machine"], rows, [Floor(**floor) for floor in document["floors"]])
        except (ValueError, KeyError, TypeError):
            raise BadInput(
                "bad_bench_file",
                "the JSON file is none that bench search wrote",
                hint="name another file, or leave out --append",
            ) from None

    def add(self, floor: Floor, rows: Sequence[Row]) -> None:
        """Take in what one set of vectors gave."""
        self.floors = [old for old in self.floors if _place(old) != _place(floor)] + [floor]
        new = {(*_place(row), row.engine, row.k) for row in rows}
        self.rows = [old for old in self.rows if (*_place(old), old.engine, old.k) not in new] + list(rows)

    def write(self, file: Path) -> None:
        """Write all of it."""
        document = {
            "machine": self.machine,
            "rows": [asdict(row) for row in self.rows],
            "floors": [asdict(floor) for floor in self.floors],
        }
        file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def describe_search_machine() -> dict[str, object]:
    """The machine and the versions that the rows were measured with."""
    from app.bench.machine import describe_machine
    from app.encoders.device import choose_placement

    machine = describe_machine(choose_placement("cpu", "fp32", 1))
    return {key: value for key, value in machine.items() if key not in ("device", "torch")} | _versions()


def _versions() -> dict[str, object]:
    found: dict[str, object] = {}
    for package in _MEASURED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _place(one: Row | Floor) -> tuple[str, int, int]:
    return one.data, one.n, one.dim
