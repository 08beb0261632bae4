"""Where a library names no patients, whatever rests on patients says what stands for them."""

from dataclasses import replace

import pytest

from app.config import Settings as ServiceSettings
from app.evaluation.options import Options
from app.evaluation.page import render_page
from app.evaluation.patient_report import Settings
from app.evaluation.protocol import Patients, Protocol
from app.evaluation.run import evaluate
from app.library.manifest import read_manifest
from app.wiring import open_library, running_service


@pytest.fixture(scope="module")
def nameless(phantoms, tmp_path_factory):
    settings = ServiceSettings(data=tmp_path_factory.mktemp("nameless"))
    manifest = read_manifest(phantoms / "manifest.csv")
    manifest.rows = [replace(row, patient_id=None) for row in manifest.rows]
    with running_service(settings) as service:
        assert not service.importer.run("nameless", manifest).bad
    return open_library(settings)


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        (Protocol.PATIENT, "groups of near-duplicates stand for them (--patients near-duplicates), and"),
        (Protocol.PAPER, "groups of near-duplicates stand for them, and"),
    ],
)
def test_every_caption_says_so(nameless, protocol, said):
    settings = Settings(protocol, Patients.NEAR_DUPLICATES, 5, draws=100, flips=100, permutations=20)
    options = Options(["resnet-us", "pixels-32"], settings=settings, pixels=False, kinds=("organ",))
    report = evaluate(nameless.catalogue, nameless.weights, "nameless", options)
    rigorous, paper = report.sections
    assert [table.key for table in rigorous.tables if said not in table.caption] == []
    assert not any("names no patients" in table.caption for table in paper.tables)
    assert said in report.summary[0]
    plots = render_page(report, lambda _row: None).split('<h2 id="map">')[0]
    assert plots.count('class="plot"') > 5
    # Under each plot, in the summary, and above the figures that decide.
    assert plots.count(said) == plots.count('class="plot"') + 2
