"""Pages of references and counts of labels, on every store."""

import pytest
from stores import new

from app.domain import LABEL_KINDS, Labels
from app.errors import BadInput, NotFound

HOSTILE = ["' OR 1=1 --", '"', '$."x"', "%", "a\0b", "\ud800", "organ'); DROP TABLE libraries; --", "ä漢", "a b", ""]


@pytest.fixture
def listing(catalogue):
    """A listing of ten references in ``fetal``, and one in another library."""
    for name in ("fetal", "early", "empty"):
        catalogue.put_library(name)
    catalogue.add(
        "fetal",
        [
            new(
                n,
                labels=Labels(
                    organ=("femur", "spine", "heart")[n % 3],
                    organ_group="limb" if n % 3 == 0 else None,
                    plane="axial" if n < 5 else None,
                    diagnoses=("normal", "cyst") if n % 2 else (),
                    diagnosis_groups=("benign",) if n % 2 else (),
                    findings=("caliper", "caliper") if n == 4 else (),
                ),
                attributes={"device": f"E{n % 2}", "site's": 'no"rth'},
                external_id=f"case-{n}",
            )
            for n in range(9)
        ]
        + [new(9, labels=Labels(), attributes={})],
    )
    catalogue.add("early", [new(1)])
    return catalogue.listing


def numbers(references):
    return sorted(int(found.facts.sha256, 16) for found in references)


def test_pages_follow_each_other_without_gap_or_repeat(listing, catalogue):
    seen = []
    while page := listing.page("fetal", after=seen[-1].id if seen else None, limit=3):
        assert len(page) <= 3
        seen += page
    assert [found.id for found in seen] == sorted(catalogue.all_ids() - {found.id for found in listing.page("early")})
    assert seen == catalogue.get_many([found.id for found in seen])


def test_a_page_goes_on_where_what_it_ended_with_was_removed(listing, catalogue):
    first = listing.page("fetal", limit=4)
    catalogue.remove([first[-1].id])
    rest = listing.page("fetal", after=first[-1].id)
    assert len({found.id for found in first + rest}) == 10


FILTERS = [
    ([("organ", "femur")], [0, 3, 6]),
    ([("organ", "femur"), ("organ", "spine")], [0, 1, 3, 4, 6, 7]),
    ([("organ", "femur"), ("plane", "axial")], [0, 3]),
    ([("organ_group", "limb")], [0, 3, 6]),
    ([("diagnoses", "cyst")], [1, 3, 5, 7]),
    ([("diagnoses", "cyst"), ("diagnoses", "normal"), ("organ", "spine")], [1, 7]),
    ([("diagnosis_groups", "benign"), ("device", "E1")], [1, 3, 5, 7]),
    ([("diagnosis_groups", "benign"), ("device", "E0")], []),
    ([("findings", "caliper")], [4]),
    ([("site's", 'no"rth'), ("organ", "heart")], [2, 5, 8]),
    ([("site", "x")], []),
]


def test_filters_are_or_within_a_kind_and_and_between_kinds(listing):
    for where, expected in FILTERS:
        assert numbers(listing.page("fetal", where=where)) == expected, where


def test_hostile_values_match_nothing_and_harm_nothing(listing):
    for text in HOSTILE:
        for kind in (*LABEL_KINDS, "device"):
            assert listing.page("fetal", where=[(kind, text)]) == []
        with pytest.raises(BadInput, match="neither a label kind nor an attribute"):
            listing.page("fetal", where=[(text, text)])
        assert listing.page("fetal", external_id=text) == []
        assert isinstance(listing.page("fetal", after=text), list)
    assert len(listing.page("fetal")) == 10


def test_hostile_values_are_found_where_they_are_stored(catalogue):
    catalogue.put_library("fetal")
    storable = [text for text in HOSTILE if "\0" not in text and text != "\ud800"]
    catalogue.add(
        "fetal",
        [
            new(n, labels=Labels(organ=text, diagnoses=(text,), findings=("other", text)), attributes={text: text})
            for n, text in enumerate(storable)
        ],
    )
    for n, text in enumerate(storable):
        for kind in ("organ", "diagnoses", "findings", text):
            assert numbers(catalogue.listing.page("fetal", where=[(kind, text)])) == [n]
    with catalogue.listing.view("fetal") as view:
        assert view.labels()["findings"] == {"other": len(storable), **dict.fromkeys(storable, 1)}


def test_an_external_id_finds_its_reference(listing):
    assert numbers(listing.page("fetal", external_id="case-7")) == [7]
    assert listing.page("fetal", external_id="case-7", where=[("organ", "femur")]) == []
    assert listing.page("early", external_id="case-7") == []


def test_labels_are_counted_by_reference_and_the_most_frequent_come_first(listing):
    with listing.view("fetal") as view, listing.view("empty") as empty:
        counts, of_nothing = view.labels(), empty.labels()
    assert counts == {
        "organ": {"femur": 3, "heart": 3, "spine": 3},
        "organ_group": {"limb": 3},
        "plane": {"axial": 5},
        "diagnoses": {"cyst": 4, "normal": 4},
        "diagnosis_groups": {"benign": 4},
        "findings": {"caliper": 1},  # one reference that carries it twice
    }
    assert list(counts["organ"]) == ["femur", "heart", "spine"]
    assert of_nothing == {kind: {} for kind in LABEL_KINDS}


def test_references_without_any_label_are_counted(listing, catalogue):
    with listing.view("fetal") as view, listing.view("empty") as empty:
        assert (view.unlabelled(), empty.unlabelled()) == (1, 0)
    one = ("organ", "organ_group", "plane")
    of_each_kind = [Labels(**{kind: "x" if kind in one else ("x",)}) for kind in LABEL_KINDS]
    catalogue.put_library("each")
    catalogue.add("each", [new(n, labels=labels) for n, labels in enumerate(of_each_kind)])
    with listing.view("each") as view:
        assert view.unlabelled() == 0


def test_fingerprints_come_in_order_of_ids(listing, catalogue):
    catalogue.add("fetal", [new(30, fingerprint="f" * 16)])
    with listing.view("fetal") as view:
        found = view.fingerprints()
    assert [key for key, _ in found] == [reference.id for reference in listing.page("fetal")]
    assert {fingerprint for _, fingerprint in found} == {*(f"{n:016x}" for n in range(10)), "f" * 16}


def test_an_unknown_library_is_refused(listing):
    for ask in (listing.page, listing.checksums, lambda name: listing.view(name).__enter__()):
        with pytest.raises(NotFound) as caught:
            ask("fetall")
        assert caught.value.code == "unknown_library"
