import json
from dataclasses import replace
from itertools import chain

import pytest

from app.encoders.listing import list_models
from app.encoders.weights import WeightStore
from app.errors import BadInput
from app.evaluation.served_tables import tables_1_to_3, tables_4_and_5

ROW = {
    "engine": "kdtree",
    "n": 5000,
    "dim": 10,
    "build_s": 0.5,
    "p50_ms": 0.1,
    "p99_ms": 0.3,
    "recall": 1.0,
    "memory_mb": 9,
}


def bench_file(tmp_path, document):
    file = tmp_path / "bench.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


def test_build_and_query_times_of_the_search_benchmark(tmp_path):
    rows = [ROW, ROW | {"n": 15000, "build_s": 1.5}, ROW | {"engine": "balltree", "k": 20, "build_s": 0.7}]
    build, query = tables_4_and_5(bench_file(tmp_path, {"machine": {"cpu": "two cores"}, "rows": rows}))
    assert build.columns == ("engine", "5,000 x 10", "15,000 x 10")
    assert [list(row) for row in build.rows] == [["kdtree", 0.5, 1.5], ["balltree", 0.7, None]]
    assert list(query.rows[2]) == ["balltree", "5,000 x 10", 20, 0.1, 0.3, 1.0, 9]
    assert "cpu two cores" in build.notes[0]


@pytest.mark.parametrize(
    "document",
    [[], {}, {"rows": []}, {"rows": [{"engine": "kdtree"}]}, {"rows": [ROW | {"p50_ms": "fast"}]}, {"rows": [3]}],
)
def test_a_file_without_times_is_refused(tmp_path, document):
    with pytest.raises(BadInput, match="--search-bench") as refused:
        tables_4_and_5(bench_file(tmp_path, document))
    assert refused.value.code == "bad_bench_file"


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BadInput, match="--search-bench"):
        tables_4_and_5(tmp_path / "none.json")


def test_the_encoders_as_served(tmp_path):
    models = list_models(WeightStore(tmp_path), "fp32")
    models.append(replace(models[0], name="our-own", kind="huggingface"))
    first, second, third = tables_1_to_3(models, accuracy=0.9, measured_on="on these images")
    names = [[row[0] for row in table.rows] for table in (first, second, third)]
    assert "dino-vits16" in names[0]
    assert "dinov2-vitg14" in names[0]
    assert all(name.startswith("sam2") for name in names[1])
    assert "dreamsim-ensemble" in names[2]
    assert {"resnet-us", "our-own"} < set(names[2])
    # Every encoder stands in one of the tables, and those of users in the third.
    assert sorted(chain.from_iterable(names)) == sorted(one.name for one in models)
    assert "84.81 %" in third.notes[0]
    assert "90.00 % on these images" in third.notes[0]
    assert "not measured" in tables_1_to_3(models)[2].notes[0]
