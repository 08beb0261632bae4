"""The schema of report.json is what the reports are."""

import copy
import json

import pytest
from jsonschema import Draft202012Validator

from app.config import Settings as ServiceSettings
from app.evaluation.control_sources import stored_sources
from app.evaluation.options import Options
from app.evaluation.patient_report import Settings
from app.evaluation.protocol import Protocol
from app.evaluation.report_files import SCHEMA_FILE, report_json, write_report
from app.evaluation.report_schema import report_schema
from app.evaluation.run import evaluate
from app.wiring import open_library

QUICK = {"draws": 100, "flips": 100, "permutations": 20, "min_images": 5}
KINDS = ("organ", "diagnoses", "findings")


@pytest.fixture(scope="module")
def library(demo_data):
    return open_library(ServiceSettings(data=demo_data))


@pytest.fixture(scope="module")
def report(library):
    from functools import partial

    controls = partial(stored_sources, library.catalogue)
    options = {"kinds": KINDS, "pixels": False, "controls": controls, "encoder": lambda name: None}
    return evaluate(library.catalogue, library.weights, "demo", Options(["pixels-32"], Settings(**QUICK), **options))


@pytest.fixture(scope="module")
def check():
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_the_committed_file_is_that_of_the_code():
    """python -m app.evaluation.report_schema > app/evaluation/report.schema.json"""
    assert json.loads(SCHEMA_FILE.read_text(encoding="utf-8")) == report_schema()


def test_a_report_is_valid_and_names_the_schema_beside_it(report, check, tmp_path):
    write_report(report, tmp_path, None)
    body = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    check.validate(body)
    assert body["controls"]
    assert (tmp_path / body["$schema"]).read_bytes() == SCHEMA_FILE.read_bytes()


def test_a_report_of_the_papers_protocol_alone_is_valid(library, check):
    settings = Settings(Protocol.PAPER, **QUICK)
    options = Options(["pixels-32"], settings, kinds=KINDS, pixels=False)
    check.validate(json.loads(json.dumps(report_json(evaluate(library.catalogue, library.weights, "demo", options)))))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body.pop("encoders"),
        lambda body: body["encoders"]["pixels-32"].pop("digest"),
        lambda body: body["encoders"]["pixels-32"]["patient"]["organ"]["p_at_10"].update(micro="0.5"),
        lambda body: body["encoders"]["pixels-32"]["patient"]["organ"].pop("lift"),
        lambda body: body["encoders"]["pixels-32"]["paper"]["organ"].pop("as_the_paper"),
        lambda body: body.update(more=1),
    ],
)
def test_a_broken_report_is_not(report, check, spoil):
    body = copy.deepcopy(json.loads(json.dumps(report_json(report))))
    spoil(body)
    assert not check.is_valid(body)


def test_the_figures_that_programs_read_are_where_the_documents_say(report):
    organ = report_json(report)["encoders"]["pixels-32"]["patient"]["organ"]
    assert {"micro", "low", "high", "macro", "macro_low", "macro_high"} <= organ["p_at_10"].keys()
    assert {"expected_in_10", "found_in_10", "lift"} <= organ.keys()
