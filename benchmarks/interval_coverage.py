"""How often the intervals of an evaluation hold the truth, and how often equal encoders are told apart.

python benchmarks/interval_coverage.py [--libraries N]

Draws libraries anew from one population of patients and organs, with two encoders that are equally good in it, and
judges each under the patient protocol. Prints, for intervals conditional on the gallery (BCa over patients) and for
those of both roles (jackknife), the share that holds the mean P@10 over all libraries (95 % were right), and the share
of libraries in which the two encoders differ with p < .05 (5 % were right).
"""

import argparse
from dataclasses import dataclass

import numpy as np

from app.domain import Labels, Vectors
from app.evaluation.both_roles import leave_out_patients
from app.evaluation.ground import Contestant, Ground, with_vectors
from app.evaluation.patient_figures import MIN_IMAGES
from app.evaluation.protocol import Protocol, rank_all
from app.evaluation.significance import paired_differences
from app.evaluation.trials import trials_of
from app.evaluation.whole_ranking import whole_lists
from app.library.embeddings import Shelf
from app.library.reference import LibraryInfo
from app.metrics.intervals import estimate
from app.metrics.jackknife import jackknife
from app.search.snapshot import build_snapshot

DIM = 8


@dataclass(frozen=True)
class Population:
    """Images a library, patients, organs; how far organs lie apart, and patients, in spreads of single images."""

    images: int
    patients: int
    organs: int
    pull: float
    of_patient: float


POPULATIONS = (
    Population(300, 100, 4, 0.0, 0.0),
    Population(300, 100, 4, 1.0, 0.7),
    Population(800, 250, 10, 1.5, 0.7),
)


def main() -> None:
    """Judge libraries of each population and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--libraries", type=int, default=120)
    options = parser.parse_args()
    print("| images | organs | P@10 | BCa holds | both roles hold | flips p < .05 | both roles p < .05 |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for population in POPULATIONS:
        print(f"| {population.images} | {population.organs} | {row_of(population, options.libraries)} |", flush=True)


def row_of(population: Population, libraries: int) -> str:
    """The figures of a population."""
    judged = [judge(population, seed) for seed in range(libraries)]
    conditional, both, difference = zip(*judged, strict=True)
    truth = float(np.mean([one.value for one in both]))
    shares = (
        np.mean([one.low <= truth <= one.high for one in conditional]),
        np.mean([one.low <= truth <= one.high for one in both]),
        np.mean([one.p < 0.05 for one in difference]),
        np.mean([one.both_roles.p < 0.05 for one in difference]),
    )
    return " | ".join([f"{truth:.3f}", *(f"{share:.1%}" for share in shares)])


def judge(population: Population, seed: int):
    """Both intervals of the first encoder, and how the two differ."""
    ground, contestants = draw(population, seed)
    trials = [trials_of(ground, rank_all(ground, one, "organ", Protocol.PATIENT)) for one in contestants]
    left_out = [
        leave_out_patients(ground, one, whole_lists(ground, contestant, one).first, one.large(MIN_IMAGES))
        for one, contestant in zip(trials, contestants, strict=True)
    ]
    conditional = estimate([trials[0].ratio(trials[0].found / trials[0].shown)], draws=400)[0]
    both = jackknife(left_out[0].micro, left_out[0].without_micro)
    return conditional, both, paired_differences(trials, left_out, draws=0, flips=1000)[0]


def draw(population: Population, seed: int) -> tuple[Ground, list[Contestant]]:
    """A library of the population and two encoders that place its images alike, each with its own noise."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(1000).normal(size=(population.organs, DIM))
    patients = generator.integers(0, population.patients, population.images)
    organs = generator.integers(0, population.organs, population.images)

    def encoded() -> Vectors:
        of_patient = generator.normal(size=(population.patients, DIM))[patients]
        noise = generator.normal(size=(population.images, DIM))
        vectors = population.pull * centres[organs] + population.of_patient * of_patient + noise
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    n = population.images
    shelf = Shelf(
        ids=[f"id-{row:05}" for row in range(n)],
        vectors=encoded(),
        external_ids=[None] * n,
        labels=[Labels(organ=f"organ-{organ}") for organ in organs],
        attributes=[{}] * n,
        patient_keys=[f"patient-{patient}" for patient in patients],
        fingerprints=[f"{((row + 1) * 0x9E3779B97F4A7C15) % 2**64:016x}" for row in range(n)],
        frame_digests=["made"] * n,
    )
    snapshot = build_snapshot(LibraryInfo("made", 1, n, "made"), "first", shelf, "exact")
    second = with_vectors(snapshot, "second", "second", encoded())
    return Ground.of(snapshot), [Contestant("first", "first", snapshot), second]


if __name__ == "__main__":
    main()
