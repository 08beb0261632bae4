"""Patients, and near-duplicates where there are none."""

import random

from app.search.groups import NEAR_DUPLICATE_BITS, PatientGroups


def flip(fingerprint: int, bits: int, rng: random.Random) -> int:
    for bit in rng.sample(range(64), bits):
        fingerprint ^= 1 << bit
    return fingerprint


def group_patients(keys, fingerprints):
    return PatientGroups.of(keys, fingerprints).numbers


def test_one_patient_is_one_group():
    groups = group_patients(["p", "q", "p", None], ["0" * 16] * 4)
    assert groups[0] == groups[2]
    assert len({groups[0], groups[1], groups[3]}) == 3


def test_hashes_within_the_limit_are_joined_and_others_not():
    rng = random.Random(3)
    for _ in range(200):
        base = rng.getrandbits(64)
        near = flip(base, NEAR_DUPLICATE_BITS, rng)
        far = flip(base, NEAR_DUPLICATE_BITS + 1, rng)
        hashes = [f"{value:016x}" for value in (base, near)]
        assert len(set(group_patients([None, None], hashes).tolist())) == 1
        hashes = [f"{value:016x}" for value in (base, far)]
        assert len(set(group_patients([None, None], hashes).tolist())) == 2


def test_chains_are_one_group_in_any_order():
    rng = random.Random(4)
    chain = [rng.getrandbits(64)]
    for _ in range(9):
        chain.append(flip(chain[-1], NEAR_DUPLICATE_BITS, rng))
    for _ in range(20):
        rng.shuffle(chain)
        groups = group_patients([None] * 10, [f"{value:016x}" for value in chain])
        assert len(set(groups.tolist())) == 1


def test_no_rows():
    assert group_patients([], []).tolist() == []


def test_many_equal_hashes_are_no_burden():
    """Frames of one cine: quadratic work would take minutes here."""
    groups = group_patients([None] * 20_000, ["00ff00ff00ff00ff"] * 20_000)
    assert set(groups.tolist()) == {0}
