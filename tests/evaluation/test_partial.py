"""An evaluation that was interrupted goes on where it was, and says the same."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from app.config import Settings as ServiceSettings
from app.evaluation.baselines import load_entrants
from app.evaluation.partial import FOLDER, Partial, forget_partial
from app.evaluation.patient_report import Settings, contestant_report, rank_contestant
from app.evaluation.report_files import markdown, report_json
from app.evaluation.run import Options, evaluate
from app.wiring import open_library

QUICK = Settings(draws=100, flips=100, permutations=20, min_images=5)
KINDS = ("organ", "diagnoses")


class Interrupted(Exception):
    """As if somebody had pulled the plug."""


class Stages:
    """Notes the stages of an evaluation and ends it in one of them."""

    def __init__(self, ends_in=None):
        self.seen, self.ends_in = [], ends_in

    @contextmanager
    def stage(self, title, _total):
        self.seen.append(title)
        if title == self.ends_in:
            raise Interrupted
        yield lambda _done: None


@pytest.fixture(scope="module")
def library(demo_data):
    return open_library(ServiceSettings(data=demo_data))


def evaluated(library, folder, stages, settings=QUICK):
    options = Options(["resnet-us", "pixels-32"], settings=settings, kinds=KINDS, pixels=False, partial=folder)
    return evaluate(library.catalogue, library.weights, "demo", options, stages)


def said(report):
    body = report_json(report)
    del body["made_at"], body["times_s"]
    return body


def test_what_was_finished_is_not_done_again_and_the_report_is_the_same(library, tmp_path):
    whole = evaluated(library, None, Stages())
    with pytest.raises(Interrupted):
        evaluated(library, tmp_path, Stages("ranking, pixels-32"))
    stages = Stages()
    again = evaluated(library, tmp_path, stages)
    assert "ranking, resnet-us" not in stages.seen
    assert "ranking, pixels-32" in stages.seen
    assert said(again) == said(whole)
    assert markdown(again) == markdown(whole)
    forget_partial(tmp_path)
    assert not (tmp_path / FOLDER).exists()


def test_what_other_settings_gave_is_not_used(library, tmp_path):
    evaluated(library, tmp_path, Stages())
    stages = Stages()
    evaluated(library, tmp_path, stages, replace(QUICK, seed=1))
    assert "ranking, resnet-us" in stages.seen
    for changed in (replace(QUICK, draws=101), replace(QUICK, min_images=6)):
        ground, (one, _) = load_entrants(library.catalogue, "demo", ["resnet-us", "pixels-32"])
        assert Partial(tmp_path, ground, KINDS, changed).load(one) is None
        assert Partial(tmp_path, ground, KINDS[:1], QUICK).load(one) is None
        assert Partial(tmp_path, ground, KINDS, QUICK).load(one) is not None


def test_what_was_cut_off_is_done_again(library, tmp_path):
    evaluated(library, tmp_path, Stages())
    for path in (tmp_path / FOLDER).iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    stages = Stages()
    evaluated(library, tmp_path, stages)
    assert "ranking, resnet-us" in stages.seen


def test_figures_come_back_bit_by_bit(library, tmp_path):
    ground, (one,) = load_entrants(library.catalogue, "demo", ["resnet-us"])
    rankings = rank_contestant(ground, one, KINDS, QUICK)
    report = contestant_report(ground, one, rankings, QUICK)
    partial = Partial(tmp_path, ground, KINDS, QUICK)
    partial.save(one, rankings, report)
    loaded = partial.load(one)
    assert loaded is not None
    assert repr(loaded[1]) == repr(report)
    for protocol, by_kind in rankings.items():
        for kind, ranked in by_kind.items():
            np.testing.assert_array_equal(loaded[0][protocol][kind].distances, ranked.distances)
            np.testing.assert_array_equal(loaded[0][protocol][kind].neighbours, ranked.neighbours)
