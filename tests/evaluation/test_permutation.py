"""Labels permuted on fixed neighbours: the exact mean, and what the real labels are worth beside it."""

from itertools import permutations

import numpy as np
import pytest
from judged_ground import hand_ranked, judged_ground, random_ground

from app.domain import Labels
from app.evaluation.permutation import permutation_controls
from app.evaluation.protocol import Protocol, rank_all
from app.evaluation.trials import trials_of


def controls(ground, contestant, kind="organ", protocol=Protocol.PATIENT, **options):
    found = permutation_controls(ground, trials_of(ground, rank_all(ground, contestant, kind, protocol)), **options)
    return {(one.units, one.within): one for one in found}


@pytest.mark.parametrize("protocol", list(Protocol))
def test_the_mean_is_the_expectation_without_the_query_itself(protocol):
    ground, contestant = random_ground(n=240, patients=80, pull=1.0)
    found = controls(ground, contestant, protocol=protocol)
    sizes = np.array([len(rows) for rows in ground.carriers("organ").values()])
    # sum of n_c (n_c - 1) / (N - 1), over sum of n_c: what ten random neighbours other than the query give.
    assert found["image", "everywhere"].expected == pytest.approx((sizes * (sizes - 1)).sum() / 239 / 240)
    for one in found.values():
        assert one.agrees
        assert abs(one.mean - one.expected) <= 3 * one.standard_error
        assert one.permutations == 1000
        assert one.p == 1 / 1001  # labels that mean something: no permutation does as well
        assert one.real > one.mean + 0.1


def tiny(units):
    """Twelve images of some patients with several labels each; the neighbours of each are drawn at random."""
    generator = np.random.default_rng(4)
    names = ["u", "v", "w"]
    labels = [
        Labels(findings=tuple(generator.choice(names, generator.integers(1, 3), replace=False))) for _ in range(12)
    ]
    ground, _ = judged_ground(labels, patients=units)
    found = {row: generator.permutation([one for one in range(12) if one != row])[:4].tolist() for row in range(12)}
    return ground, hand_ranked(ground, "findings", found)


def test_the_exact_mean_of_patients_is_that_of_all_permutations():
    # Four patients of one image (rows 0-3) and two of four images: all 4! x 2! exchanges, times all orders of four
    # labels within each of the two. The mean over them is worked out here one by one.
    units = ["a", "b", "c", "d", *["e"] * 4, *["f"] * 4]
    ground, ranked = tiny(units)
    labels = [set(found.labels.findings) for found in ground.references]
    rows, orders = ranked.neighbours[:, :4], list(permutations(range(4)))
    total, count = 0.0, 0
    shares = np.array([[len(one & other) for other in labels] for one in labels], float)
    for singles in orders:
        for swap in (False, True):
            for first in orders:
                for second in orders:
                    blocks = [[4 + one for one in first], [8 + one for one in second]]
                    source = np.array([*singles, *(blocks[1] + blocks[0] if swap else blocks[0] + blocks[1])])
                    total += shares[source[:, None], source[rows]].sum() / 4
                    count += 1
    found = {(one.units, one.within): one for one in permutation_controls(ground, trials_of(ground, ranked))}
    one = found["patient", "everywhere"]
    assert one.expected == pytest.approx(total / count / sum(map(len, labels)))
    assert one.agrees
    assert one.moved == 1.0


def test_within_the_device_labels_stay_with_it():
    # Device x carries only a, device y only b: within the device every permutation is the same as the real labels.
    organs = ["a"] * 10 + ["b"] * 10
    ground, contestant = judged_ground(organs, devices=["x"] * 10 + ["y"] * 10)
    found = controls(ground, contestant, permutations=200)
    for units in ("image", "patient"):
        one = found[units, "device"]
        assert (one.mean, one.expected, one.p) == (pytest.approx(one.real), pytest.approx(one.real), 1.0)
        assert one.agrees
        assert one.deviations is None
    assert found["image", "everywhere"].expected == pytest.approx(9 / 19)


def test_labels_without_meaning_are_in_the_middle_of_the_permutations():
    ground, contestant = random_ground(n=240, patients=80, seed=6)
    for one in controls(ground, contestant, permutations=400).values():
        assert 0.01 < one.p < 0.99
        assert one.agrees


def test_images_of_one_patient_make_the_p_of_images_too_small_and_not_that_of_patients():
    # 30 patients of eight images, one label each, vectors of a patient in one place, patients at random: there is
    # nothing to find in other patients, but a patient's eight queries agree with each other.
    small = {"image": 0, "patient": 0}
    for seed in range(12):
        generator = np.random.default_rng(seed)
        patient = np.repeat(np.arange(30), 8)
        organs = [f"organ-{one}" for one in generator.integers(0, 3, 30)[patient]]
        vectors = generator.normal(size=(30, 4))[patient] + 0.02 * generator.normal(size=(240, 4))
        vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        ground, contestant = judged_ground(organs, vectors, patients=[f"p{one}" for one in patient])
        for (units, _), one in controls(ground, contestant, permutations=100).items():
            small[units] += min(one.p, 1 - one.p) < 0.025
    assert small["image"] > 6
    assert small["patient"] < 4


def test_patients_that_cannot_change_places_are_counted():
    # Patients of 1, 2 and 9 images: nobody has a partner.
    ground, contestant = judged_ground(["a", "b"] * 6, patients=["p", "q", "q", *["r"] * 9])
    found = controls(ground, contestant, permutations=50)
    assert found["patient", "everywhere"].moved == 0
    assert found["image", "everywhere"].moved == 1


def test_the_seed_decides():
    ground, contestant = random_ground(n=100)
    assert controls(ground, contestant, permutations=50) == controls(ground, contestant, permutations=50)
    assert controls(ground, contestant, permutations=50) != controls(ground, contestant, permutations=50, seed=1)
