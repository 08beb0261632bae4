import json

import cv2
import numpy as np
import pytest
from paper_ground import make_ground, ranked, unit
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from app.config import Settings
from app.domain import Labels
from app.errors import BadInput
from app.evaluation.ground import load_contestants
from app.evaluation.label_match import Cut
from app.evaluation.one_query import choose_example, figures_2_to_4, table_9, table_10
from app.evaluation.pixel_metrics import METRICS, bhattacharyya, histogram_correlation, measure_all, sift_matches
from app.evaluation.pixel_tables import (
    DREAMSIM_ENCODER,
    StoredInputs,
    measure_neighbours,
    overlap,
    table_14,
    table_17_21,
    tables_6_to_8,
)
from app.evaluation.protocol import Protocol, rank_all
from app.evaluation.roles import NATURAL, Role, choose_pixel_set, natural_pictures, read_pixel_set
from app.images.deidentify import Keyer
from app.images.phantom import write_phantoms
from app.library.manifest import read_manifest, read_taxonomy
from app.scores.registry import ScoreInput, score_pairs
from app.wiring import running_service

KEYER = Keyer(b"secret")


@pytest.fixture(scope="module")
def phantoms_24(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms-24")
    write_phantoms(folder, count=24, seed=3)
    return folder


@pytest.fixture(scope="module")
def service(phantoms_24, tmp_path_factory):
    with running_service(Settings(data=tmp_path_factory.mktemp("data-24"))) as opened:
        manifest = read_manifest(phantoms_24 / "manifest.csv", read_taxonomy(phantoms_24 / "taxonomy.toml"))
        assert not opened.importer.run("demo", manifest).bad
        yield opened


@pytest.fixture(scope="module")
def judged(service):
    ground, (contestant,) = load_contestants(service.catalogue, "demo", ["resnet-us"])
    return ground, rank_all(ground, contestant, "organ", Protocol.PAPER)


@pytest.fixture(scope="module")
def cat_and_rocket():
    pictures = {one.name: one.scored for one in natural_pictures()}
    return pictures["chelsea"], pictures["rocket"]


def test_a_picture_against_itself_has_the_best_value_of_every_metric(cat_and_rocket):
    cat, rocket = cat_and_rocket
    same, other = measure_all(cat, cat), measure_all(cat, rocket)
    for metric in METRICS:
        if metric.name == "DreamSim distance":
            assert same[metric.name] is None
        elif metric.larger_is_nearer:
            assert same[metric.name] > other[metric.name], metric.name
        else:
            assert same[metric.name] == 0 < other[metric.name], metric.name
    for name in ("histogram", "histogram correlation", "histogram Bhattacharyya", "SSIM", "UQI", "MS-SSIM", "VIF"):
        assert same[name] == pytest.approx(1), name


def test_metrics_agree_with_other_implementations(cat_and_rocket):
    cat, rocket = cat_and_rocket
    found = measure_all(cat, rocket)
    a, b = cat.canvas.astype(float), rocket.canvas.astype(float)
    counts = [one.histogram.astype(np.float32) for one in (cat, rocket)]
    assert found["MSE"] == pytest.approx(np.mean((a - b) ** 2))
    assert found["RMSE"] == pytest.approx(np.sqrt(np.mean((a - b) ** 2)))
    assert found["PSNR"] == pytest.approx(peak_signal_noise_ratio(cat.canvas, rocket.canvas))
    assert found["histogram correlation"] == pytest.approx(cv2.compareHist(*counts, cv2.HISTCMP_CORREL), abs=1e-5)
    # OpenCV prints the distance sqrt(1 - coefficient).
    distance = cv2.compareHist(*counts, cv2.HISTCMP_BHATTACHARYYA)
    assert found["histogram Bhattacharyya"] == pytest.approx(1 - distance**2, abs=1e-5)
    assert found["ERGAS"] == pytest.approx(25 * found["RMSE"] / a.mean())
    cosine = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    assert found["SAM"] == pytest.approx(np.arccos(cosine))


def test_histogram_scores_of_counts_by_hand():
    # Relative histograms (1/2, 1/2, 0) and (0, 1/2, 1/2): sum of sqrt(h_a h_b) = 1/2. Centred counts (1, 1, -2)
    # and (-2, 1, 1): product -3, norms 6 and 6, so -1/2.
    a, b = np.array([3, 3, 0]), np.array([0, 3, 3])
    assert bhattacharyya(a, b) == pytest.approx(0.5)
    assert histogram_correlation(a, b) == pytest.approx(-0.5)
    assert np.isnan(histogram_correlation(a, np.array([2, 2, 2])))


def test_uqi_is_that_of_sewar_and_not_that_of_its_authors(cat_and_rocket):
    cat, rocket = cat_and_rocket
    as_published = structural_similarity(cat.canvas, rocket.canvas, win_size=7, K1=1e-9, K2=1e-9, data_range=255)
    # If this fails, sewar computes window sums at last: the formula that METRICS tells must then say so.
    assert abs(measure_all(cat, rocket)["UQI"] - as_published) > 0.1


def test_sift_finds_a_shifted_picture_again_but_no_noise(cat_and_rocket):
    canvas = cat_and_rocket[0].canvas
    noise = np.random.default_rng(0).integers(0, 256, canvas.shape, dtype=np.uint8)
    assert sift_matches(canvas, np.roll(canvas, 12, axis=1)) > 10 * max(1, sift_matches(canvas, noise))
    assert sift_matches(canvas, np.full_like(canvas, 9)) == 0


@pytest.mark.parametrize(
    ("similar", "different", "larger", "share"),
    [
        ([1, 2, 3], [2.5, 4], False, 1 / 6),  # of six pairs only (3, 2.5) is in the wrong order
        ([1, 2, 3], [2.5, 4], True, 5 / 6),
        ([1, 2], [3, 4], False, 0),
        ([1, 1], [1, 1], True, 0.5),  # ties tell nothing
        ([5], [4, 5, 6], True, 0.5),  # right, a tie, wrong: (0 + 1/2 + 1) / 3
        ([np.inf], [20.0], True, 0),  # PSNR of an exact copy
    ],
)
def test_overlap_is_the_share_of_pairs_in_the_wrong_order(similar, different, larger, share):
    assert overlap(similar, different, larger_is_nearer=larger) == pytest.approx(share)


def test_neighbours_are_measured_as_the_service_scores_them(service, judged):
    ground, ranked_ = judged
    inputs = StoredInputs(service.catalogue, ground)
    lot, found = measure_neighbours([ranked_], inputs, seed=1)
    assert (lot.contestant, found.contestant) == ("random", "resnet-us")
    query, *others = inputs([int(ranked_.queries[5]), *ranked_.neighbours[5].tolist()])
    scores = score_pairs(query, others, ["histogram", "mse"])
    assert found.values["histogram"][5] == pytest.approx(np.mean([one["histogram"] for one in scores]))
    assert found.values["MSE"][5] == pytest.approx(np.mean([one["mse"] for one in scores]))
    # Neighbours by an ultrasound encoder look more alike than others drawn by lot.
    assert found.values["MSE"].mean() < lot.values["MSE"].mean()


def test_without_dreamsim_vectors_cells_are_empty_and_the_command_is_told(service, judged):
    ground, ranked_ = judged
    inputs = StoredInputs(service.catalogue, ground)
    assert "sonoseek models fetch dreamsim-ensemble" in inputs.why_not
    assert "sonoseek reembed demo --encoder dreamsim-ensemble" in inputs.why_not
    table = table_17_21(measure_neighbours([ranked_], inputs), Cut.of(ground, 1), inputs, notes=[inputs.why_not])
    column = table.columns.index("DreamSim similarity")
    assert [row[column] for row in table.rows] == [None, None]
    assert inputs.why_not in table.notes


def test_pixel_tables_average_over_the_queries_that_the_cut_keeps(service, judged):
    ground, ranked_ = judged
    inputs = StoredInputs(service.catalogue, ground)
    measured = measure_neighbours([ranked_], inputs)
    sizes = {label: len(rows) for label, rows in ground.carriers("organ").items()}
    least = max(sizes.values())
    cut = Cut.of(ground, least)
    classes = table_14(measured, cut)
    assert {row[0] for row in classes.rows} == {label for label, size in sizes.items() if size >= least} < {*sizes}
    summary = next(row for row in table_17_21(measured, cut, inputs).rows if row[0] == "resnet-us")
    own = [row for row in classes.rows if row[2] == "resnet-us"]
    # sum n_c x_c / sum n_c over the classes of Table 14.
    for column in range(4):
        total = sum(row[1] * row[3 + column] for row in own) / sum(row[1] for row in own)
        assert summary[1 + column] == pytest.approx(total)


def test_dreamsim_judges_itself_and_dino_and_both_are_starred(phantoms_24, tmp_path):
    with running_service(Settings(data=tmp_path / "data")) as opened:
        manifest = read_manifest(phantoms_24 / "manifest.csv", read_taxonomy(phantoms_24 / "taxonomy.toml"))
        opened.importer.run("demo", manifest)
        embeddings = opened.catalogue.embeddings
        keys = embeddings.missing("demo", "sha256:none")
        vectors = unit(np.random.default_rng(0).normal(size=(len(keys), 16)))
        for name in (DREAMSIM_ENCODER, "dino-vitb16", "dinov2-vits14"):
            stored = keys[:20] if name == DREAMSIM_ENCODER else keys
            embeddings.add("demo", name, f"sha256:{name}", stored, vectors[: len(stored)])
        names = ["sha256:dino-vitb16", "dinov2-vits14"]
        ground, contestants = load_contestants(opened.catalogue, "demo", names)
        rankings = [rank_all(ground, one, "organ", Protocol.PAPER) for one in contestants]
        inputs = StoredInputs(opened.catalogue, ground)
        assert "20 of 24 images" in inputs.why_not
        measured = measure_neighbours(rankings, inputs)
        table = table_17_21(measured, Cut.of(ground, 1), inputs)
        assert [(row[0], row[-1]) for row in table.rows] == [("random", None), (names[0], "*"), (names[1], None)]
        # Row 0's similarity is the mean cosine of those of its neighbours that have a vector.
        found = [row for row in rankings[1].neighbours[0].tolist() if row < 20]
        values = vectors.astype(np.float64)
        assert measured[2].values["DreamSim similarity"][0] == pytest.approx(np.mean(values[found] @ values[0]))
        assert np.isnan(measured[2].values["DreamSim similarity"][23])


def write_roles(folder, lines):
    file = folder / "roles.csv"
    file.write_text("path,role\n" + "".join(f"{path},{role}\n" for path, role in lines), encoding="utf-8")
    return file


def test_roles_from_a_file(phantoms_24, tmp_path):
    pictures = sorted((phantoms_24 / "images").iterdir())[:4]
    cv2.imwrite(str(tmp_path / "sky.png"), np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8))
    roles = [*zip(pictures, ("reference", "similar", "different", "different"), strict=True), ("sky.png", "natural")]
    chosen = read_pixel_set(write_roles(tmp_path, roles), KEYER)
    assert [(one.name, one.role) for one in chosen.pictures][:2] == [("line 2", "reference"), ("line 3", "similar")]
    assert [one.name for one in chosen.of(Role.NATURAL)] == ["line 6"]
    # A natural picture has no scan region: it is taken whole.
    whole = cv2.cvtColor(cv2.imread(str(tmp_path / "sky.png")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(chosen.of(Role.NATURAL)[0].scored.canvas, ScoreInput.of(whole).canvas)
    without = read_pixel_set(write_roles(tmp_path, roles[:-1]), KEYER)
    assert [one.name for one in without.of(Role.NATURAL)] == list(NATURAL)
    assert "names no natural ones" in without.how


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([("a.png", "similar"), ("a.png", "different")], "0 references"),
        ([("a.png", "reference"), ("a.png", "reference")], "2 references"),
        ([("a.png", "reference"), ("a.png", "similar")], "no different picture"),
        ([("a.png", "reference"), ("a.png", "like")], "line 3"),
        ([("patient-jane-doe.png", "reference"), ("b", "similar"), ("c", "different")], "line 2 .* cannot be opened"),
    ],
)
def test_a_file_of_roles_that_cannot_be_used_is_refused_without_naming_files(tmp_path, lines, said):
    with pytest.raises(BadInput, match=said) as refused:
        read_pixel_set(write_roles(tmp_path, lines), KEYER)
    assert refused.value.code == "bad_pixel_set"
    assert "jane" not in refused.value.detail


def test_roles_by_rule_leave_out_the_references_own_patient():
    a, b = Labels(organ="a"), Labels(organ="b")
    ground, _ = make_ground([a, a, a, a, b, b], patients=["p", "p", "q", "r", "s", "t"])
    # Rows 0 and 1 are of one patient, so 0 has one neighbour of a from elsewhere, 3 has two and 2 has one.
    one = ranked(ground, "organ", {0: [1, 2, 4], 1: [0], 2: [0, 5], 3: [0, 1, 4], 4: [5], 5: [0]})
    canvas = np.zeros((256, 256), np.uint8)
    chosen = choose_pixel_set(ground, [one], lambda rows: [ScoreInput.of(canvas + row) for row in rows])
    assert chosen.reference.row == 3
    assert [one.row for one in chosen.of(Role.SIMILAR)] == [0, 1]
    assert sorted(one.row for one in chosen.of(Role.DIFFERENT)) == [4, 5]
    assert "by rule" in chosen.how
    assert chosen.of(Role.SIMILAR)[0].scored.canvas[0, 0] == 0


def test_the_rule_looks_at_the_first_kind_that_tells_images_apart():
    x, y = Labels(organ="breast", diagnoses=("x",)), Labels(organ="breast", diagnoses=("y",))
    ground, _ = make_ground([x, x, y])
    found = {0: [1, 2], 1: [0, 2], 2: [0, 1]}
    rankings = [ranked(ground, kind, found) for kind in ("organ", "diagnoses")]
    canvas = np.zeros((256, 256), np.uint8)
    chosen = choose_pixel_set(ground, rankings, lambda rows: [ScoreInput.of(canvas + row) for row in rows])
    assert [one.row for one in chosen.of(Role.DIFFERENT)] == [2]
    one_organ = choose_pixel_set(ground, rankings[:1], lambda rows: [ScoreInput.of(canvas + row) for row in rows])
    assert one_organ.of(Role.DIFFERENT) == []
    assert "there are none" in one_organ.how


def test_tables_6_to_8_hold_every_metric_for_every_picture(service, judged):
    ground, ranked_ = judged
    chosen = choose_pixel_set(ground, [ranked_], StoredInputs(service.catalogue, ground))
    few = [one for role in Role for one in chosen.of(role)[:2]]
    tables = {table.key: table for table in tables_6_to_8(type(chosen)(tuple(few), chosen.how))}
    assert list(tables) == ["table-6", "table-7", "table-8", "tables-6-8-overlap"]
    assert [row[1] for row in tables["table-6"].rows] == ["reference", "similar", "similar"]
    assert [row[0] for row in tables["table-8"].rows] == list(NATURAL[:2])
    itself = dict(zip(tables["table-6"].columns, tables["table-6"].rows[0], strict=True))
    assert (itself["MSE"], itself["PSNR"], itself["DreamSim distance"]) == (0, "∞", None)
    assert [row[0] for row in tables["tables-6-8-overlap"].rows] == [metric.name for metric in METRICS]
    for table in tables.values():
        assert chosen.how in table.notes
        json.dumps(table.rows, allow_nan=False)


def test_dreamsim_of_pictures_without_vectors_is_asked_of_the_encoder():
    def perceive(frames):
        return unit(np.stack([[frame.pixels.mean(), 100.0] for frame in frames]))

    cat, rocket = (one.scored for one in natural_pictures(perceive) if one.name in ("chelsea", "rocket"))
    assert measure_all(cat, rocket)["DreamSim distance"] == pytest.approx(1 - float(cat.dreamsim @ rocket.dreamsim))


def looked_at():
    """Rows 0-2 have organ a of group g and diagnoses, rows 3 and 4 have organ b."""
    labels = [
        Labels(organ="a", organ_group="g", diagnoses=("x", "y")),
        Labels(organ="a", organ_group="g", diagnoses=("x", "w")),
        Labels(organ="a", organ_group="g"),
        Labels(organ="b", organ_group="g"),
        Labels(organ="b", organ_group="h"),
    ]
    ground, _ = make_ground(labels)
    organ = {0: [1, 3, 4], 1: [0, 2], 2: [0, 1, 3], 3: [4], 4: [3]}
    return ground, [
        ranked(ground, "organ", organ),
        ranked(ground, "organ_group", organ),
        ranked(ground, "diagnoses", {0: [1], 1: [0]}),
    ]


def test_the_example_is_the_median_of_the_commonest_class_with_a_diagnosis():
    ground, rankings = looked_at()
    # Of a, rows 0 and 1 have diagnoses, with 1 and 2 matches; the upper median is row 1.
    assert choose_example(ground, rankings, Cut.of(ground, 1)).row == 1
    assert choose_example(ground, rankings, Cut.of(ground, 1), wanted="case-3").row == 3
    with pytest.raises(BadInput, match="no reference") as refused:
        choose_example(ground, rankings, Cut.of(ground, 1), wanted="case-99")
    assert refused.value.code == "unknown_example"


def test_table_9_counts_organs_and_groups_of_one_query():
    ground, rankings = looked_at()
    table = table_9(ground, rankings, choose_example(ground, rankings, Cut.of(ground, 1), wanted="id-0000"))
    # Row 0 finds rows 1 (a, g), 3 (b, g) and 4 (b, h); the lot draws all four others.
    assert [tuple(row) for row in table.rows] == [
        ("organ", "a", "yes", 2, 1),
        ("organ", "b", "no", 2, 2),
        ("group", "g", "yes", 3, 2),
        ("group", "h", "no", 1, 1),
    ]


def test_table_10_names_the_diagnoses_of_one_query():
    ground, rankings = looked_at()
    example = choose_example(ground, rankings, Cut.of(ground, 1), wanted="id-0000")
    # R = x, y; its neighbour has x, w.
    assert list(table_10(ground, rankings, example).rows[0]) == ["made-encoder", "x; y", "x", "y", "w", 2, 1, 1, 1]
    undiagnosed = choose_example(ground, rankings, Cut.of(ground, 1), wanted="id-0002")
    assert table_10(ground, rankings, undiagnosed) is None


def test_figures_2_to_4_show_the_query_its_neighbours_and_the_lot():
    ground, rankings = looked_at()
    example = choose_example(ground, rankings, Cut.of(ground, 1), wanted="id-0000")
    query, nearest, lot = figures_2_to_4(ground, rankings, example)
    assert (query.rows, query.labels) == ((0,), ("a; g; x; y",))
    assert (nearest.key, nearest.rows, nearest.matching) == ("figure-3-made-encoder", (1, 3, 4), (True, False, False))
    assert nearest.distances == pytest.approx((0, 0.1, 0.2))
    assert (sorted(lot.rows), lot.distances[0]) == ([1, 2, 3, 4], None)
