"""Eight real pictures, official files that are gone after each module, and the table of what was compared."""

import csv
import importlib.util
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.domain import Frame, ImageFacts
from app.encoders.authors import import_torchvision
from reference.bench import TABLE

PICTURES = {"fetal": 3, "early": 2, "hc18": 1, "breast": 1, "lung": 1}
PACKAGES = ("dreamsim", "open_clip", "peft", "sam2", "timm", "torchvision")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
_rows = []

if not MISSING:
    import_torchvision()  # before any of the others, which import it


def pytest_ignore_collect(collection_path):
    """Without the authors' packages there is one line, in test_environment, and not an error for each module."""
    return True if MISSING and collection_path.name not in ("test_environment.py", "reference") else None


@pytest.fixture(scope="session")
def frames(real_data):
    """Real pictures, grey and in colour, of several shapes."""
    chosen = [path for name, count in PICTURES.items() for path in _spread(real_data / name, count)]
    return [_frame(path) for path in chosen]


def _spread(folder, count):
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as lines:
        paths = [folder / row["path"] for row in csv.DictReader(lines)]
    return [paths[(number * len(paths)) // count] for number in range(count)]


def _frame(path):
    picture = Image.open(path)
    pixels = np.asarray(picture if picture.mode == "L" else picture.convert("RGB"))
    return Frame(pixels, ImageFacts(sha256="", format="png", width=picture.width, height=picture.height))


@pytest.fixture
def scratch():
    """A folder for gigabytes, which pytest's own would keep."""
    with tempfile.TemporaryDirectory(prefix="sonoseek-reference-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def record():
    """Notes a line of the table; ``expected`` says whether it must be the same encoder, None asks nothing."""

    def note(family, encoder, what, parity, expected=True):
        _rows.append((family, encoder, what, parity, expected))
        assert expected is None or parity.holds == expected, (encoder, what, parity)

    return note


def pytest_terminal_summary(terminalreporter):
    """Print what was compared."""
    if not _rows:
        return
    lines = [
        "Official files with seeded random weights, real pictures, the authors' code beside ours; lowest cosines and "
        "largest difference over the pictures. The same encoder: all numbers of the unit vectors close (1e-4 of each, "
        "1e-5) and the cosine about the mean at least .99999. Rows that say no are mistakes made on purpose; of "
        "bfloat16 nothing is asked, since random weights exaggerate its error (bf16_neighbours.md has trained ones).",
        "",
        "| family | encoder | ours | cosine | centred | largest difference | same encoder |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {family} | {encoder} | {what} | {parity.cosine:.9f} | {parity.centred:.9f} | {parity.difference:.1e} "
        f"| {'' if expected is None else 'yes' if parity.holds else 'no'} |"
        for family, encoder, what, parity, expected in _rows
    ]
    terminalreporter.write_line("\n".join(lines))
    if TABLE:
        Path(TABLE).write_text("\n".join(lines) + "\n", encoding="utf-8")
