"""How long a whole evaluation takes, and how much memory: both protocols, intervals, tables, page.

python benchmarks/evaluation_time.py [--cases 1116,15000]

Makes a library of synthetic vectors in clusters (labels of all kinds, patients of three images, frames of phantoms)
and runs ``sonoseek evaluate --out`` over it in a process of its own: 1,116 images with the stored vectors of three
encoders (256, 384 and 1,792 numbers), 15,000 with those of one (384). Prints a table; peak memory is the process' own.
"""

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from app.domain import ImageFacts, Labels
from app.images.phantom import draw_phantoms
from app.library.catalogue import Catalogue
from app.library.database import open_database
from app.library.files import FrameFiles
from app.library.reference import NewReference, NewVector

CASES = {1116: {"small": 256, "middle": 384, "large": 1792}, 15_000: {"middle": 384}}
"""Images -> encoders with the length of their vectors."""
ORGANS, DIAGNOSES = 20, 30
AT_ONCE = 250


def main() -> None:
    """Fill, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(str(images) for images in CASES))
    options = parser.parse_args()
    print(
        "| images | encoders | seconds | peak MB | report.html MB |\n| ---: | ---: | ---: | ---: | ---: |", flush=True
    )
    for images in (int(word) for word in options.cases.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder), images, CASES[images])
            seconds, peak = judged(Path(folder), list(CASES[images]))
            size = (Path(folder) / "report" / "report.html").stat().st_size / 1e6
            print(f"| {images} | {len(CASES[images])} | {seconds:.0f} | {peak:.0f} | {size:.1f} |", flush=True)


def judged(folder: Path, encoders: list[str]) -> tuple[float, float]:
    """Seconds and peak megabytes of the command."""
    command = [sys.executable, "-m", "app", "evaluate", "bench", "--encoders", ",".join(encoders)]
    surroundings = os.environ | {"SONOSEEK_DATA": str(folder)}
    begin = time.perf_counter()
    process = subprocess.Popen([*command, "--out", str(folder / "report")], env=surroundings, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the evaluation ended with {process.returncode}")
    return time.perf_counter() - begin, usage.ru_maxrss / 1024


def fill(folder: Path, images: int, encoders: dict[str, int]) -> None:
    """A library as if it had been enrolled."""
    catalogue = Catalogue(open_database(f"sqlite:///{folder}/sonoseek.db"), FrameFiles(folder / "frames"))
    catalogue.put_library("bench")
    references = list(made_up(images, encoders))
    for start in range(0, images, AT_ONCE):
        catalogue.add("bench", references[start : start + AT_ONCE])


def made_up(images: int, encoders: dict[str, int]) -> Iterator[NewReference]:
    """References whose vectors gather by organ, and less so by diagnosis."""
    dice = np.random.default_rng(0)
    pictures = [picture(phantom.pixels) for phantom in draw_phantoms(count=24, seed=3)]
    centres = {name: dice.normal(size=(ORGANS, dim)) for name, dim in encoders.items()}
    leanings = {name: dice.normal(size=(DIAGNOSES, dim)) for name, dim in encoders.items()}
    for number in range(images):
        organ, diagnosis = int(dice.integers(ORGANS)), int(dice.integers(DIAGNOSES))
        png, canvas = pictures[number % len(pictures)]
        vectors = []
        for name, dim in encoders.items():
            vector = centres[name][organ] + 0.5 * leanings[name][diagnosis] + 2.5 * dice.normal(size=dim)
            vectors.append(NewVector(name, f"sha256:{name}", (vector / np.linalg.norm(vector)).astype(np.float32)))
        yield NewReference(
            facts=ImageFacts(sha256=f"{number:064x}", format="png", width=800, height=600),
            frame_digest="sha256:frame",
            labels=Labels(
                organ=f"organ {organ}",
                organ_group=f"group {organ // 4}",
                diagnoses=(f"diagnosis {diagnosis}",),
                findings=(f"finding {diagnosis % 7}", f"finding {7 + organ % 5}"),
            ),
            attributes={"device": f"device {number % 5}", "trimester": str(1 + number % 3)},
            external_id=f"case-{number}",
            patient_key=f"{number // 3:064x}",
            png=png,
            canvas=canvas,
            histogram=np.bincount(canvas.ravel(), minlength=256).astype(np.int64),
            fingerprint=f"{dice.integers(2**63):016x}",
            vectors=tuple(vectors),
        )


def picture(pixels: np.ndarray) -> tuple[bytes, np.ndarray]:
    """A frame as PNG, and its canvas."""
    grey = Image.fromarray(pixels).convert("L")
    file = io.BytesIO()
    grey.save(file, "PNG")
    return file.getvalue(), np.asarray(grey.resize((256, 256), Image.Resampling.BOX))


if __name__ == "__main__":
    main()
