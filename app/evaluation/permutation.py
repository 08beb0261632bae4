"""The control that labels mean something: permuted between patients, on the neighbours as they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.evaluation.ground import Ground
from app.evaluation.protocol import Protocol
from app.evaluation.subgroups import coded
from app.evaluation.trials import Rows, Trials, carried
from app.metrics.precision import Numbers

PERMUTATIONS = 1000
DEVICE = "device"
EVERYWHERE = "everywhere"

Words = NDArray[np.uint64]
"""The labels of each image as bits, (N, words)."""


@dataclass(frozen=True, slots=True)
class PermutationFigures:
    """Micro P@10 with the labels permuted between ``units`` (patient or image), ``within`` the device or everywhere.

    ``expected`` is the exact mean over all permutations, worked out from the labels; ``mean`` that of those drawn,
    ``deviations`` their difference in standard errors of the mean, and ``agrees`` says that it is at most 3. ``p`` is
    (1 + permutations at least as good as the real labels) / (1 + permutations). ``moved`` is the share of images whose
    label could go elsewhere.
    """

    contestant: str
    protocol: Protocol
    kind: str
    units: str
    within: str
    real: float
    mean: float
    expected: float
    standard_error: float
    deviations: float | None
    agrees: bool
    p: float
    moved: float
    permutations: int
    seed: int


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Queries and their neighbours as positions in the gallery; the weight of a pair is 1 / (neighbours shown)."""

    queries: Rows
    neighbours: Rows
    weights: Numbers


def permutation_controls(
    ground: Ground, trials: Trials, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> list[PermutationFigures]:
    """Both units, everywhere and, where devices are known, within the device.

    Units ``image``: every label may go to every image. The exact mean is then the expectation without the query
    itself, sum of n_c (n_c - 1) / (N - 1) over sum of n_c; its p takes images of one patient for independent, which
    they are not. Units ``patient``: all labels of a patient go together to a patient with as many images, in random
    order among them; its p holds where images of one patient are alike. Either way every label stays as frequent as
    it is.
    """
    columns = np.flatnonzero(trials.ranked.gallery)
    names, device = coded(ground, DEVICE)
    patients = ground.patients[columns]
    images = np.arange(len(columns))
    variants: list[tuple[str, str, Rows, Rows]] = []
    for within in (EVERYWHERE, DEVICE) if len(names) > 1 else (EVERYWHERE,):
        place = device[columns] + 1 if within == DEVICE else np.zeros(len(columns), dtype=np.int64)
        variants.append(("patient", within, patients * (len(names) + 1) + place, place))
        variants.append(("image", within, images, place))
    return [_permuted(ground, trials, columns, variant, permutations=permutations, seed=seed) for variant in variants]


def _permuted(
    ground: Ground,
    trials: Trials,
    columns: Rows,
    variant: tuple[str, str, Rows, Rows],
    *,
    permutations: int,
    seed: int,
) -> PermutationFigures:
    units, within, unit_of, place_of = variant
    member = carried(len(ground), list(ground.carriers(trials.ranked.kind).values()))[columns]
    pairs, strata = _pairs(trials, columns), _strata(unit_of, place_of)
    words, labels = _as_bits(member), int(member.sum())
    generator = np.random.default_rng(seed)
    real = _matches(words, pairs) / labels
    drawn = np.asarray([_matches(words[_shuffled(strata, generator)], pairs) for _ in range(permutations)]) / labels
    expected = _exact_mean(member, unit_of, strata, pairs) / labels
    error = float(drawn.std(ddof=1) / np.sqrt(permutations))
    off = float(drawn.mean() - expected)
    return PermutationFigures(
        contestant=trials.ranked.contestant,
        protocol=trials.ranked.protocol,
        kind=trials.ranked.kind,
        units=units,
        within=within,
        real=real,
        mean=float(drawn.mean()),
        expected=expected,
        standard_error=error,
        deviations=off / error if error > 1e-12 else None,
        agrees=abs(off) <= 3 * error + 1e-9,
        p=float((1 + np.count_nonzero(drawn >= real - 1e-12)) / (1 + permutations)),
        moved=sum(stratum.size for stratum in strata if len(stratum) > 1) / len(columns),
        permutations=permutations,
        seed=seed,
    )


def _pairs(trials: Trials, columns: Rows) -> _Pairs:
    ranked = trials.ranked
    there = ranked.neighbours >= 0
    shown = there.sum(axis=1)
    queries = np.repeat(np.searchsorted(columns, ranked.queries), shown)
    return _Pairs(queries, np.searchsorted(columns, ranked.neighbours[there]), 1 / np.repeat(shown, shown))


def _strata(unit_of: Rows, place_of: Rows) -> list[Rows]:
    """Units that may change places, as positions (units, images of each): of one place and equally many images."""
    _, number_of, sizes = np.unique(unit_of, return_inverse=True, return_counts=True)
    order = np.argsort(number_of, kind="stable")
    members = np.split(order, np.cumsum(sizes)[:-1])
    alike: dict[tuple[int, int], list[Rows]] = {}
    for positions in members:
        alike.setdefault((int(place_of[positions[0]]), len(positions)), []).append(positions)
    return [np.stack(alike[key]) for key in sorted(alike)]


def _shuffled(strata: list[Rows], generator: np.random.Generator) -> Rows:
    """From where each position (N,) gets its labels."""
    source = np.empty(sum(stratum.size for stratum in strata), dtype=np.int64)
    for stratum in strata:
        moved = generator.permutation(stratum)
        source[stratum] = generator.permuted(moved, axis=1) if stratum.shape[1] > 1 else moved
    return source


def _as_bits(member: NDArray[np.bool_]) -> Words:
    packed = np.packbits(member, axis=1)
    padded = np.zeros((len(member), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view(np.uint64)


def _matches(words: Words, pairs: _Pairs) -> float:
    """Labels that queries and neighbours share, summed over pairs by weight."""
    shared = np.bitwise_count(words[pairs.queries] & words[pairs.neighbours]).sum(axis=1)
    return float(shared @ pairs.weights)


def _exact_mean(member: NDArray[np.bool_], unit_of: Rows, strata: list[Rows], pairs: _Pairs) -> float:
    """The mean of ``_matches`` over all permutations.

    With n_a(c) carriers of c among the k images of unit a of a stratum of m units: a pair of different strata shares
    sum_c f(c) f'(c) labels, f being the share of carriers in each; one of two units of a stratum
    sum_c ((sum_a n_a)² - sum_a n_a²) / (m (m - 1) k²); one within a unit sum_c sum_a n_a (n_a - 1) / (m k (k - 1)).
    """
    stratum_of = np.empty(len(member), dtype=np.int64)
    shares, apart, within = [], [], []
    for number, stratum in enumerate(strata):
        stratum_of[stratum] = number
        units, size = stratum.shape
        counts = member[stratum].sum(axis=1).astype(np.float64)
        total, squares = counts.sum(axis=0), np.square(counts).sum(axis=0)
        shares.append(total / (units * size))
        apart.append(float((total**2 - squares).sum() / max(1, units * (units - 1) * size**2)))
        within.append(float((squares - total).sum() / max(1, units * size * (size - 1))))
    table = np.stack(shares) @ np.stack(shares).T
    np.fill_diagonal(table, apart)
    one, other = stratum_of[pairs.queries], stratum_of[pairs.neighbours]
    same_unit = unit_of[pairs.queries] == unit_of[pairs.neighbours]
    return float(np.where(same_unit, np.asarray(within)[one], table[one, other]) @ pairs.weights)
