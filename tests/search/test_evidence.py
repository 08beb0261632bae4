"""Evidence against numbers worked out by hand."""

import numpy as np
import pytest
from shelf_maker import angles, make_snapshot

from app.search.evidence import weigh_evidence


@pytest.fixture
def snapshot():
    return make_snapshot(
        angles(*range(10)),
        ["femur"] * 4 + ["spine"] * 6,
        ["a", "a", "b", "c", "c", "d", "e", "f", "g", "h"],
    )


def by_label(evidence):
    return {found.label: found for found in evidence}


def test_found_expected_lift_and_patients(snapshot):
    everything = np.ones(10, dtype=bool)
    found = by_label(weigh_evidence(snapshot, np.array([0, 1, 2, 9]), everything))
    assert (found["femur"].found, found["femur"].patients) == (3, 2)
    assert found["femur"].expected == pytest.approx(4 * 4 / 10)
    assert found["femur"].lift == pytest.approx(3 / 1.6)
    assert found["spine"].lift == pytest.approx(1 / 2.4)
    assert found["femur"].low_support


def test_what_may_not_be_seen_does_not_count(snapshot):
    visible = np.ones(10, dtype=bool)
    visible[[0, 1]] = False
    found = by_label(weigh_evidence(snapshot, np.array([2, 9]), visible))
    assert found["femur"].expected == pytest.approx(2 * 2 / 8)


def test_with_a_cap_patients_count_and_not_their_images(snapshot):
    everything = np.ones(10, dtype=bool)
    found = by_label(weigh_evidence(snapshot, np.array([0, 2]), everything, max_per_patient=1))
    # of eight patients a and b have only femur, and c has one of each
    assert found["femur"].expected == pytest.approx(2 * (1 + 1 + 0.5) / 8)
    two = by_label(weigh_evidence(snapshot, np.array([0, 2]), everything, max_per_patient=2))
    assert two["femur"].expected == pytest.approx(2 * 4 / 10)  # nobody has more than two


def test_what_is_expected_of_all_labels_adds_up_to_the_neighbours(snapshot):
    visible = np.ones(10, dtype=bool)
    visible[3] = False
    for cap in (None, 1, 2):
        evidence = weigh_evidence(snapshot, np.array([0, 2, 5, 9]), visible, max_per_patient=cap)
        assert sum(found.expected for found in evidence) == pytest.approx(4)


def test_labels_come_in_order_of_kind_then_strength(snapshot):
    everything = np.ones(10, dtype=bool)
    evidence = weigh_evidence(snapshot, np.array([0, 4, 5, 6]), everything)
    assert [found.label for found in evidence] == ["spine", "femur"]
    assert {found.kind for found in evidence} == {"organ"}  # attributes are no labels


def test_nothing_found_is_no_evidence(snapshot):
    nothing = np.empty(0, dtype=np.int64)
    assert weigh_evidence(snapshot, nothing, np.zeros(10, dtype=bool)) == []
