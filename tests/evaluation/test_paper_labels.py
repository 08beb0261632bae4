from itertools import combinations

import numpy as np
import pytest
from paper_ground import all_but, make_ground, ranked, unit

from app.domain import Labels
from app.evaluation.label_match import (
    NO_ORGANS,
    Cut,
    by_lot,
    compare_labels,
    labels_by_lot,
    match_classes,
    matches,
    weighted_average,
)
from app.evaluation.paper_tables import label_tables, paper_figures, query_table
from app.evaluation.protocol import KINDS, Protocol, rank_kinds

A, B, C = (Labels(organ=organ, organ_group=group) for organ, group in (("a", "g"), ("b", "h"), ("c", "h")))


@pytest.fixture
def ground():
    """a: rows 0-5, b: 6-10, c: 11; row 12 has only a group, row 13 nothing."""
    return make_ground([A] * 6 + [B] * 5 + [C, Labels(organ_group="h"), Labels()])[0]


@pytest.fixture
def organs(ground):
    # 12 images have an organ, so each query sees 11 and finds all but one of them.
    # a finds its 5 others, but row 0 misses one: (4 + 5 x 5) / 6 = 29 / 6.
    # b finds its 4 others, but row 6 misses one: (3 + 4 x 4) / 5 = 19 / 5. c has no other: 0.
    return all_but(
        ground, "organ", {0: [1], **dict.fromkeys(range(1, 6), (6,)), 6: [7], **dict.fromkeys(range(7, 12), (0,))}
    )


@pytest.fixture
def groups(ground):
    # 13 images have a group (7 are h), so each query sees 12 and misses two.
    # g: misses two of h and finds its 5 others. h: misses two of g and finds its 6 others.
    return all_but(ground, "organ_group", {**dict.fromkeys(range(6), (11, 12)), **dict.fromkeys(range(6, 13), (0, 1))})


def kept(ground, least):
    return Cut.of(ground, least).kept


def test_found_is_the_mean_over_the_queries_that_carry_the_label(ground, organs):
    found = {one.label: one.found for one in match_classes(ground, organs, kept(ground, 1))}
    assert found == pytest.approx({"a": 29 / 6, "b": 19 / 5, "c": 0})


def test_expected_counts_the_querys_own_image_as_the_paper_does(ground, organs):
    expected = {one.label: one.expected for one in match_classes(ground, organs, kept(ground, 1))}
    assert expected == pytest.approx({"a": 60 / 12, "b": 50 / 12, "c": 10 / 12})


def test_expected_without_own_is_what_a_random_draw_gives(ground, organs):
    expected = {one.label: one.expected_without_own for one in match_classes(ground, organs, kept(ground, 1))}
    # 10 (n_c - 1) / (N - 1) with N = 12: a 50 / 11, b 40 / 11, and the only image of c finds no other.
    assert expected == pytest.approx({"a": 50 / 11, "b": 40 / 11, "c": 0})


def test_a_weighted_average_weighs_with_the_number_of_images():
    # (2 x 5 + 8 x 10) / 10
    assert weighted_average([2, 8], [5.0, 10.0]) == pytest.approx(9.0)
    assert weighted_average([], []) is None


def test_the_cut_drops_classes_as_queries_but_not_from_the_gallery(ground, organs):
    figures = paper_figures(ground, organs, Cut.of(ground, 5))
    # c is cut: (6 x 29 / 6 + 5 x 19 / 5) / 11 = 48 / 11. N stays 12: (6 x 60 / 12 + 5 x 50 / 12) / 11.
    assert figures.found_in_10 == pytest.approx(48 / 11)
    assert figures.expected_in_10 == pytest.approx((6 * 5 + 5 * 50 / 12) / 11)
    assert figures.expected_without_own == pytest.approx((6 * 50 / 11 + 5 * 40 / 11) / 11)
    assert figures.lift == pytest.approx((48 / 11) / ((6 * 50 / 11 + 5 * 40 / 11) / 11))
    assert (figures.classes, figures.of_classes, figures.queries, figures.of_queries) == (2, 3, 11, 12)


def test_the_cut_by_organ_governs_groups_too(ground, groups):
    figures = paper_figures(ground, groups, Cut.of(ground, 6))
    # Only a has 6 images: its queries are of g, and find 5. h has 7 images, but none of an organ that is kept.
    assert (figures.found_in_10, figures.queries, figures.classes) == (5, 6, 1)
    assert figures.expected_in_10 == pytest.approx(60 / 13)
    figures = paper_figures(ground, groups, Cut.of(ground, 5))
    # b's five queries are of h and find 6; c's and the one without organ are no queries: (6 x 5 + 5 x 6) / 11.
    assert figures.found_in_10 == pytest.approx(60 / 11)
    assert figures.expected_in_10 == pytest.approx((6 * 60 / 13 + 5 * 70 / 13) / 11)


def test_coverage_says_how_much_is_kept(ground, organs):
    said = Cut.of(ground, 5).coverage(organs)
    assert "2 of 3 organ classes (at least 5 images each)" in said
    assert "11 of 12 queries" in said


def test_a_library_without_organs_is_one_class():
    ground, _ = make_ground([Labels(diagnoses=("x",))] * 12)
    cut = Cut.of(ground, 20)
    assert cut.kept.all()
    assert {label: len(rows) for label, rows in cut.classes.items()} == {NO_ORGANS: 12}
    assert "all 12 queries" in cut.coverage(ranked(ground, "diagnoses", {row: [] for row in range(12)}))


def diagnosed(*diagnoses):
    return Labels(diagnoses=diagnoses)


def test_common_not_found_and_extra_labels():
    ground, _ = make_ground([diagnosed(*"xyz"), diagnosed("x"), diagnosed("x", "w"), diagnosed("y"), diagnosed("v")])
    one = ranked(ground, "diagnoses", {0: [1, 2, 3], 1: [0, 2], 2: [4], 3: [], 4: [3, 1]})
    sets = compare_labels(ground, one)
    # Row 0: R = xyz, T = xwy: common x and y, not found z, extra w. Row 1: R = x, T = xyzw: extra y, z, w.
    # Row 2: R = xw, T = v. Row 3: R = y, T is empty. Row 4: R = v, T = yx.
    assert sets.reference.tolist() == [3, 1, 2, 1, 1]
    assert sets.common.tolist() == [2, 1, 0, 0, 0]
    assert sets.not_found.tolist() == [1, 0, 2, 1, 1]
    assert sets.extra.tolist() == [1, 3, 1, 0, 2]
    # Neighbours that share a label: row 0 all three, row 1 both, the others none.
    assert matches(ground, one).tolist() == [3, 2, 0, 0, 0]


def test_no_neighbour_carries_nothing_even_where_the_last_row_does():
    ground, _ = make_ground([diagnosed("x"), diagnosed("x")])
    one = ranked(ground, "diagnoses", {0: [], 1: []})
    assert match_classes(ground, one, kept(ground, 1))[0].found == 0


def test_an_image_with_five_diagnoses_counts_in_each_class():
    ground, _ = make_ground([diagnosed(*"abcde"), diagnosed("a"), diagnosed("b", "c")])
    one = ranked(ground, "diagnoses", {0: [1, 2], 1: [0], 2: [0, 1]})
    found = {one.label: (one.queries, one.found) for one in match_classes(ground, one, kept(ground, 1))}
    # a: rows 0 and 1 find each other. b, c: rows 0 and 2 likewise. d, e: row 0 alone.
    assert found == {"a": (2, 1), "b": (2, 1), "c": (2, 1), "d": (1, 0), "e": (1, 0)}


def test_what_the_lot_gives_is_exact():
    labels = [diagnosed("x", "y"), diagnosed("y"), *[diagnosed("z")] * 9, diagnosed("w", "z")]
    ground, _ = make_ground(labels)
    one = ranked(ground, "diagnoses", {row: [] for row in range(12)})
    # Every query has C(11, 10) = 11 ways to draw ten of its 11 others: count them all.
    truth = []
    for query in range(12):
        own, others = set(labels[query].diagnoses), [row for row in range(12) if row != query]
        drawn = [{name for row in ten for name in labels[row].diagnoses} for ten in combinations(others, 10)]
        truth.append([np.mean([len(f(own, found)) for found in drawn]) for f in (set.intersection, set.difference)])
        truth[-1].append(np.mean([len(found - own) for found in drawn]))
    sets = labels_by_lot(ground, one)
    np.testing.assert_allclose(np.stack([sets.common, sets.not_found, sets.extra], axis=1), truth, atol=1e-12)


def test_the_lot_draws_ten_others_of_the_gallery_and_repeats_with_its_seed(ground, organs):
    drawn = by_lot(organs, seed=3)
    assert all(len({*row}) == 10 for row in drawn.neighbours.tolist())
    assert not (drawn.neighbours == drawn.queries[:, None]).any()
    assert drawn.gallery[drawn.neighbours].all()
    np.testing.assert_array_equal(drawn.neighbours, by_lot(organs, seed=3).neighbours)
    assert (drawn.neighbours != by_lot(organs, seed=4).neighbours).any()


def test_the_lot_favours_nobody(ground, organs):
    counts = np.zeros(14)
    for seed in range(400):
        np.add.at(counts, by_lot(organs, seed).neighbours, 1)
    # Each of 12 rows is drawn by 11 others with 10 / 11: 10 a draw, 4,000 in all; sd below 61.
    np.testing.assert_allclose(counts[:12], 4000, atol=250)
    assert counts[12:].sum() == 0


def by_name(tables):
    return {table.key: table for table in tables}


def cell(table, row, column):
    return next(line for line in table.rows if line[0] == row)[table.columns.index(column)]


def test_tables_11_and_12_print_the_classes_that_are_kept(ground, organs, groups):
    tables = by_name(label_tables(ground, [organs, groups], least=5))
    assert [row[0] for row in tables["table-11"].rows] == ["a", "b", "weighted average"]
    assert cell(tables["table-11"], "a", "images") == 6
    assert cell(tables["table-11"], "weighted average", "made-encoder") == pytest.approx(48 / 11)
    assert (cell(tables["table-12"], "h", "images"), cell(tables["table-12"], "h", "queries")) == (7, 5)
    assert cell(tables["table-12"], "weighted average", "made-encoder") == pytest.approx(60 / 11)
    assert "11 of 13 queries" in tables["table-12"].notes[0]


def test_tables_15_and_18_begin_with_the_lot(ground, organs, groups):
    table = by_name(label_tables(ground, [organs, groups], least=5))["table-15-18"]
    assert [row[0] for row in table.rows] == ["random, expected", "random, drawn", "made-encoder"]
    assert cell(table, "random, expected", "organ found") == pytest.approx((6 * 50 / 11 + 5 * 40 / 11) / 11)
    assert cell(table, "made-encoder", "organ found") == pytest.approx(48 / 11)
    assert cell(table, "made-encoder", "group found") == pytest.approx(60 / 11)
    # Every kept query finds its own organ, and both others but those missed: a and b find b, c and a, c.
    assert cell(table, "made-encoder", "organ common") == 1
    assert cell(table, "made-encoder", "organ extra") == 2


def test_table_13_averages_the_labels_per_organ_class():
    labels = [
        Labels(organ="a", diagnoses=("x",)),
        Labels(organ="a", diagnoses=("x", "y")),
        Labels(organ="b", diagnoses=("y",)),
    ]
    ground, _ = make_ground([*labels, Labels(diagnoses=("z",))])
    one = ranked(ground, "diagnoses", {0: [1], 1: [0, 3], 2: [0], 3: [0]})
    table = by_name(label_tables(ground, [one], least=2))["table-13"]
    # a: row 0 R = x, T = xy (1, 1, 0, 1); row 1 R = xy, T = xz (2, 1, 1, 1). b has one image: cut.
    assert table.columns[3:] == ("reference", "common", "not found", "extra")
    assert [list(row) for row in table.rows if row[2] == "made-encoder"] == [["a", 2, "made-encoder", 1.5, 1, 0.5, 1]]
    assert "1 queries have no organ" in table.notes[0]
    assert "2 of 4 queries" in table.notes[1]


def test_the_summary_of_diagnoses_leaves_out_what_the_cut_by_organ_does():
    labels = [Labels(organ="a", diagnoses=("x",))] * 2 + [Labels(organ="b", diagnoses=("x",), findings=("f",))]
    ground, _ = make_ground(labels)
    diagnoses = ranked(ground, "diagnoses", {0: [1, 2], 1: [2], 2: [0]})
    findings = ranked(ground, "findings", {2: []})
    tables = by_name(label_tables(ground, [diagnoses, findings], least=2))
    # Rows 0 and 1 find 2 and 1 images of x; row 2 is of a class with one image.
    assert cell(tables["table-16-19"], "made-encoder", "diagnosis found") == 1.5
    # All findings belong to the class that is cut.
    assert cell(tables["table-20"], "made-encoder", "finding found") is None
    assert cell(tables["table-20"], "made-encoder", "finding common") is None


def test_one_row_per_query_tells_what_each_contestant_found(ground, organs, groups):
    table = query_table(ground, [organs, groups], least=5)
    assert len(table.rows) == 13
    first, last = table.rows[0], table.rows[12]
    columns = {name: place for place, name in enumerate(table.columns)}
    assert first[columns["made-encoder organ matches"]] == 4
    assert first[columns["kept by the cut"]] == "yes"
    # Row 12 has a group only: it was no query for organs, and is of no class that is kept.
    assert last[columns["organ"]] is None
    assert last[columns["made-encoder organ matches"]] is None
    assert last[columns["made-encoder organ_group matches"]] == 6
    assert last[columns["kept by the cut"]] == "no"


def test_random_embeddings_give_what_is_expected_without_the_own_image_in_every_table():
    generator = np.random.default_rng(7)
    names = generator.choice(["a", "b", "c", "d"], 600, p=[0.5, 0.3, 0.15, 0.05])
    labels = [
        Labels(
            organ=name,
            organ_group="g" if name in "ab" else "h",
            diagnoses=tuple(generator.choice(["x", "y", "z", "w"], generator.integers(1, 4), replace=False).tolist()),
            findings=("f",) if generator.random() < 0.4 else ("k",),
        )
        for name in names
    ]
    ground, contestant = make_ground(labels, unit(generator.normal(size=(600, 32))))
    kinds = [kind for kind in KINDS if kind != "diagnosis_groups"]
    rankings = list(rank_kinds(ground, contestant, kinds, Protocol.PAPER).values())
    tables = by_name(label_tables(ground, rankings))
    for key in ("table-11", "table-12"):
        for row in tables[key].rows:
            # One query's count has an sd below 1.6, but queries share neighbours: 2.5 for that, three times.
            assert row[5] == pytest.approx(row[4], abs=3 * 2.5 / np.sqrt(row[2])), row
    for key, kind in (
        ("table-15-18", "organ"),
        ("table-15-18", "group"),
        ("table-16-19", "diagnosis"),
        ("table-20", "finding"),
    ):
        table = tables[key]
        for name in ("found", "common", "not found", "extra"):
            expected = cell(table, "random, expected", f"{kind} {name}")
            for who in ("made-encoder", "random, drawn"):
                assert cell(table, who, f"{kind} {name}") == pytest.approx(expected, abs=0.2), (key, kind, name, who)
    for expected, found in zip(tables["table-13"].rows[::2], tables["table-13"].rows[1::2], strict=True):
        assert found[3:] == pytest.approx(expected[3:], abs=0.25)
