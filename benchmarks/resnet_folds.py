"""Two folds by patient for resnet-us: train on one half of fetal (and all else), search within the other half.

python benchmarks/resnet_folds.py ../shared/data            both folds, each in a process of its own
Writes benchmarks/results/resnet_folds.json and .md.
"""

import argparse
import csv
import json
import multiprocessing
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from app.encoders.base import unit_length
from app.encoders.resnet import ResNetEncoder, ResNetUS
from app.metrics import Precision, precision_at_k
from app.training.data import Sample, read_manifests, training_set
from app.training.fit import Schedule, fit
from app.training.resnet import CACHE_SIDE, PREPROCESS, service_reader

SAME_PATIENT = {"Patient00799": "Patient00786", "Patient00830": "Patient00820"}
"""Two people of FETAL_PLANES_DB who stand in it under two numbers each."""

SQUEEZED = "vaishnavi9989/"
"""Where the head pictures come from that passed through a squeezing export."""

EVERYTHING = ("fetal", "hc18", "early", "breast", "lung")
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Pictures:
    """All pictures as the service reads them, with what the folds need to know."""

    samples: list[Sample]
    frames: list[np.ndarray]
    patients: np.ndarray
    fold: np.ndarray
    squeezed: np.ndarray


def main() -> None:
    """Run both folds and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=Schedule().steps)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    tasks = [(arguments.data, fold, arguments.steps, arguments.seed) for fold in (0, 1)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        folds = pool.starmap(run_fold, tasks)
    report = {"schedule": asdict(Schedule(steps=arguments.steps)), "seed": arguments.seed, "rows": summary(folds)}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "resnet_folds.json").write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "resnet_folds.md").write_text(markdown(report["rows"]))
    print(markdown(report["rows"]))


def run_fold(data: Path, fold: int, steps: int, seed: int) -> dict[str, dict[str, Precision]]:
    """Train on all but one half of the patients; figures of every way to embed, within that half."""
    torch.set_num_threads(1)  # the number of threads is part of what makes a run repeat
    pictures = read_pictures(data)
    tested = np.flatnonzero(pictures.fold == fold)
    network = train_without(pictures, fold, steps, seed)
    torch.manual_seed(seed)
    ways = {"trained": features(network), "untrained": features(ResNetUS().eval()), "pixels 32 x 32": small_pixels}
    return {name: figures(pictures, tested, way) for name, way in ways.items()}


def read_pictures(data: Path) -> Pictures:
    """Every manifest below the data folder, and which fold each fetal patient belongs to (-1: never tested)."""
    samples = read_manifests([data / name / "manifest.csv" for name in EVERYTHING])
    read = service_reader()
    frames = [read(sample.path.read_bytes(), sample.frame, sample.region) for sample in samples]
    patients = np.array([SAME_PATIENT.get(sample.patient, sample.patient) for sample in samples])
    fetal = np.array([sample.path.parts[-3] == "fetal" for sample in samples])
    shuffled = np.random.default_rng(0).permutation(np.unique(patients[fetal]))
    half = {patient: number % 2 for number, patient in enumerate(shuffled)}
    fold = np.array([half[name] if inside else -1 for name, inside in zip(patients, fetal, strict=True)])
    origins = read_origins(data / "fetal")
    squeezed = np.array([origins.get(sample.path, "").startswith(SQUEEZED) for sample in samples])
    return Pictures(samples, frames, patients, fold, squeezed)


def read_origins(folder: Path) -> dict[Path, str]:
    """Where each picture of a manifest comes from; the column is the data's own and no attribute."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as lines:
        return {folder / row["path"]: row["source"] for row in csv.DictReader(lines)}


def train_without(pictures: Pictures, fold: int, steps: int, seed: int) -> ResNetUS:
    """A network that has seen no picture of one fold's patients."""
    rows = np.flatnonzero(pictures.fold != fold)
    square = PREPROCESS.model_copy(update={"size": CACHE_SIDE}).square
    squares = np.stack([square(pictures.frames[row]) for row in rows])
    data = training_set([pictures.samples[row] for row in rows], squares)
    return fit(data, PREPROCESS, seed=seed, schedule=Schedule(steps=steps), progress=say(fold)).network


def say(fold: int) -> Callable[[str, int, int], None]:
    """A progress line every 100 steps."""

    def line(stage: str, done: int, of: int) -> None:
        if done % 100 == 0:
            print(f"fold {fold}: {stage} {done} of {of}", flush=True)

    return line


def features(network: ResNetUS) -> Callable[[list[np.ndarray]], np.ndarray]:
    """Embeds frames as the service does, with a network's weights."""
    encoder = ResNetEncoder(name="fold", weights=network.state_dict(), preprocess=PREPROCESS, digest="fold")
    return lambda frames: unit_length(encoder.core(np.stack([PREPROCESS.tensor(pixels) for pixels in frames])))


def small_pixels(frames: list[np.ndarray]) -> np.ndarray:
    """The plain picture, reduced to 32 x 32: no learning at all."""
    small = [Image.fromarray(pixels).convert("L").resize((32, 32), Image.Resampling.BOX) for pixels in frames]
    return np.stack([np.asarray(picture, np.float32).ravel() for picture in small])


def figures(
    pictures: Pictures, rows: np.ndarray, way: Callable[[list[np.ndarray]], np.ndarray]
) -> dict[str, Precision]:
    """Same organ among the first ten, with and without the squeezed pictures as queries and gallery."""
    vectors = way([pictures.frames[row] for row in rows])
    organs = [pictures.samples[row].organ for row in rows]
    kept = np.flatnonzero(~pictures.squeezed[rows])
    return {
        "all": precision_at_k(vectors, organs, pictures.patients[rows].tolist()),
        "without squeezed": precision_at_k(
            vectors[kept], [organs[row] for row in kept], pictures.patients[rows][kept].tolist()
        ),
        **{
            f"organ: {organ}": only(precision_at_k(vectors, organs, pictures.patients[rows].tolist()), organs, organ)
            for organ in sorted(set(organs))
        },
    }


def only(figure: Precision, organs: list[str], organ: str) -> Precision:
    """The figure of the queries of one organ."""
    rows = [row for row, name in enumerate(organs) if name == organ]
    return Precision(figure.k, figure.matches[rows], figure.expected[rows], tuple(figure.groups[row] for row in rows))


def summary(folds: list[dict[str, dict[str, Precision]]]) -> list[dict[str, object]]:
    """One row per way and selection: both folds' queries together, and each fold's mean."""
    rows = []
    for way, selections in folds[0].items():
        for selection in selections:
            parts = [fold[way][selection] for fold in folds if selection in fold[way]]
            both = joined(parts)
            low, high = both.interval()
            rows.append(
                {
                    "way": way,
                    "queries": selection,
                    "count": len(both.matches),
                    "mean": round(both.mean, 3),
                    "interval": [round(low, 3), round(high, 3)],
                    "chance": round(both.chance, 3),
                    "folds": [round(part.mean, 3) for part in parts],
                }
            )
    return rows


def joined(parts: list[Precision]) -> Precision:
    """Queries of several folds as one figure."""
    return Precision(
        parts[0].k,
        np.concatenate([part.matches for part in parts]),
        np.concatenate([part.expected for part in parts]),
        tuple(name for part in parts for name in part.groups),
    )


def markdown(rows: list[dict[str, object]]) -> str:
    """The rows as a table."""
    lines = [
        "Same organ among the ten nearest, the patient's own left out; intervals are 95 % bootstrap by patient.",
        "",
        "| way | queries | n | mean of 10 | interval | chance | each fold |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        low, high = row["interval"]
        each = " / ".join(f"{value:.2f}" for value in row["folds"])
        lines.append(
            f"| {row['way']} | {row['queries']} | {row['count']} | {row['mean']:.2f} "
            f"| {low:.2f} to {high:.2f} | {row['chance']:.2f} | {each} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
