"""sonoseek bench search: real engines in real processes, rows that can be checked, refusals before anything runs."""

import json
import subprocess
import sys

import numpy as np
import pytest

from app.bench.search import Floor, Row, measure_search, true_distances
from app.bench.search_data import embedded, make_vectors
from app.bench.search_file import SearchFile
from app.bench.search_rivals import RIVALS, open_rival
from app.bench.search_table import figure_class, markdown, plot
from app.errors import BadInput, Misconfigured
from app.images.phantom import write_phantoms

FIELDS = {"engine", "n", "dim", "k", "build_s", "p50_ms", "p99_ms", "recall", "memory_mb"}


def command(tmp_path, *options):
    environment = {"SONOSEEK_DATA": str(tmp_path), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, "-m", "app", "bench", "search", *options],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_command_writes_rows_and_prints_a_table(tmp_path):
    file = tmp_path / "search.json"
    done = command(tmp_path, "--n", "400", "--dim", "8", "--k", "1,5", "--engines", "exact,scan", "--json", str(file))
    assert done.returncode == 0, done.stderr
    document = json.loads(file.read_text(encoding="utf-8"))
    assert set(document["machine"]) >= {"processor", "threads", "numpy"}
    assert document["machine"]["threads"] == 1
    assert [(row["engine"], row["k"]) for row in document["rows"]] == [
        ("exact", 1), ("exact", 5), ("scan", 1), ("scan", 5),
    ]  # fmt: skip
    for row in document["rows"]:
        assert set(row) >= FIELDS
        assert (row["n"], row["dim"], row["recall"]) == (400, 8, 1.0)
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["queries"] >= 100
    assert document["floors"][0]["ms"] > 0
    assert "### synthetic, 400 x 8" in done.stdout
    assert "| exact | 5 |" in done.stdout


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--n", "0"), "--n"),
        (("--engines", "exact,annoy"), "annoy"),
        (("--data", "real"), "--manifest"),
        (("--n", "5", "--k", "10"), "--k"),
    ],
)
def test_options_that_make_no_sense_are_wrong_use(tmp_path, options, named):
    done = command(tmp_path, *options)
    assert done.returncode == 2
    assert named in done.stderr


def test_an_engine_whose_library_is_missing_is_refused_before_anything_is_measured(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    said = []
    with pytest.raises(Misconfigured) as caught:
        list(measure_search([("synthetic", 50, 4)], ["exact", "faiss-hnsw"], [3], progress=said.append))
    assert "sonoseek[bench]" in caught.value.hint
    assert said == []


def test_a_plot_without_matplotlib_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(Misconfigured) as caught:
        figure_class()
    assert "sonoseek[bench]" in caught.value.hint


@pytest.mark.parametrize("name", RIVALS)
def test_every_way_to_search_finds_the_nearest(name):
    if name.startswith("faiss"):
        pytest.importorskip("faiss")
    vectors = make_vectors("synthetic", 500, 16, None, seed=3)
    search = open_rival(name, vectors[20:])
    for query in vectors[:20]:
        order = np.argsort(np.linalg.norm(vectors[20:].astype(np.float64) - query, axis=1))
        for k in (1, 10):
            rows = search(query, k)
            assert rows.shape == (k,)
            # HNSW is approximate, but not with so few vectors.
            assert rows.tolist() == order[:k].tolist()


def test_the_truth_is_brute_force_over_several_chunks():
    vectors = make_vectors("synthetic", 9_000, 6, None, seed=1)
    vectors[8_500] = vectors[3]
    queries = vectors[[3, 8_999]]
    expected = np.sort(np.linalg.norm(vectors[None].astype(np.float64) - queries[:, None], axis=2), axis=1)[:, :12]
    np.testing.assert_allclose(true_distances(vectors, queries, 12), expected, rtol=0, atol=1e-12)


def test_a_wrong_neighbour_costs_recall(monkeypatch):
    """Rows of a way to search that always answers the same are right only by chance."""
    from app.bench import search

    vectors = make_vectors("synthetic", 1_000, 16, None, seed=2)
    queries = vectors[:5]
    truth = true_distances(vectors, queries, 4)
    right = [np.argsort(np.linalg.norm(vectors.astype(np.float64) - query, axis=1))[:4] for query in queries]
    half = [np.array([rows[0], rows[1], 999, 999]) for rows in right]
    assert search._recall(vectors, queries, right, truth) == 1.0
    assert search._recall(vectors, queries, half, truth) == 0.5


@pytest.mark.parametrize("data", ["real", "real-isotropic"])
def test_repeated_embeddings_are_near_to_real_ones_and_none_of_them(data):
    real = make_vectors("synthetic", 200, 32, None, seed=4)
    repeated = make_vectors(data, 600, 32, real, seed=5)
    assert repeated.shape == (600, 32)
    assert repeated.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(repeated, axis=1), 1, atol=1e-6)
    nearest = np.linalg.norm(repeated[:, None] - real, axis=2).min(axis=1)
    assert nearest.min() > 0
    assert np.median(nearest) < np.median(np.linalg.norm(real[:, None] - real, axis=2))


def test_jitter_of_real_kind_stays_where_images_differ():
    """Embeddings that differ in three of eight dimensions only: so do the repeated ones, isotropic ones do not."""
    rng = np.random.default_rng(6)
    real = np.zeros((100, 8), np.float32)
    real[:, 7] = 3
    real[:, :3] = rng.normal(size=(100, 3))
    real /= np.linalg.norm(real, axis=1, keepdims=True)
    unused = [np.abs(make_vectors(data, 50, 8, real, 0)[:, 3:7]).max() for data in ("real", "real-isotropic")]
    assert unused[0] < 1e-6 < unused[1]


def test_phantoms_are_embedded_and_what_is_no_image_is_left_out(tmp_path):
    write_phantoms(tmp_path, count=12)
    manifest = tmp_path / "manifest.csv"
    lines = manifest.read_text(encoding="utf-8").splitlines()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    width = lines[0].count(",")
    manifest.write_text("\n".join([*lines[:13], "broken.png" + "," * width]) + "\n", encoding="utf-8")
    vectors = embedded(manifest, "resnet-us", tmp_path)
    assert vectors.shape == (12, 256)
    manifest.write_text("\n".join(lines[:3]) + "\n", encoding="utf-8")
    with pytest.raises(BadInput, match="2 images"):
        embedded(manifest, "resnet-us", tmp_path)


def row(engine="exact", n=100, k=10, p50=1.0):
    return Row(engine, "synthetic", n, 8, k, 0.1, p50, 2 * p50, 1.0, 3.0, 100)


def test_rows_that_are_measured_again_replace_the_older_ones(tmp_path):
    file = tmp_path / "search.json"
    first = SearchFile({"cores": 1})
    first.add(Floor("synthetic", 100, 8, 0.5, 4.0), [row(), row("scan")])
    first.add(Floor("synthetic", 200, 8, 0.9, 4.0), [row(n=200)])
    first.write(file)
    again = SearchFile.read(file)
    assert again == first
    again.add(Floor("synthetic", 100, 8, 0.6, 4.0), [row(p50=7.0)])
    assert {(one.engine, one.n, one.p50_ms) for one in again.rows} == {
        ("scan", 100, 1.0), ("exact", 200, 1.0), ("exact", 100, 7.0),
    }  # fmt: skip
    assert sorted((floor.n, floor.ms) for floor in again.floors) == [(100, 0.6), (200, 0.9)]


@pytest.mark.parametrize("text", ["no JSON", "{}", '{"machine": {}, "rows": [{"engine": "exact"}], "floors": []}'])
def test_another_file_is_not_appended_to(tmp_path, text):
    file = tmp_path / "search.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        SearchFile.read(file)
    assert caught.value.code == "bad_bench_file"


def test_the_table_shows_times_as_shares_of_the_scan_of_the_same_k():
    rows = [row(p50=1.0), row("scan", p50=4.0), row(k=20, p50=3.0), row("scan", k=20, p50=4.0)]
    text = markdown(rows, [Floor("synthetic", 100, 8, 0.5, 4.0)])
    assert "all vectors read once: 0.50 ms, 4 GB/s" in text
    assert [line.split("|")[6].strip() for line in text.splitlines() if "| exact" in line] == ["0.25", "0.75"]


def test_the_plot_is_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    file = tmp_path / "search.png"
    plot([row(), row(n=1000, p50=3.0), row("scan")], [Floor("synthetic", 100, 8, 0.5, 4.0)], file)
    assert file.read_bytes().startswith(b"\x89PNG")
