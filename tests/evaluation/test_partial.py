"""An evaluation that was interrupted goes on where it was, and says the same."""

from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from judged_ground import judged_ground, unit

from app.config import Settings as ServiceSettings
from app.evaluation.baselines import load_entrants
from app.evaluation.options import Options
from app.evaluation.partial import FOLDER, Partial, forget_partial
from app.evaluation.patient_report import Settings, contestant_report, rank_contestant
from app.evaluation.report_files import markdown, report_json
from app.evaluation.run import evaluate
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

    def note(self, text):
        self.seen.append(text)


@pytest.fixture(scope="module")
def library(demo_data):
    return open_library(ServiceSettings(data=demo_data))


def evaluated(library, folder, stages, settings=QUICK, **changes):
    options = Options(
        ["resnet-us", "pixels-32"], settings=settings, kinds=KINDS, pixels=False, partial=folder, **changes
    )
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


def test_what_other_organs_gave_is_not_used(library, tmp_path):
    """Two organs of as many images each: whichever is left out, as many images are annotated."""
    ground, _ = load_entrants(library.catalogue, "demo", ["pixels-32"])
    sizes = {organ: len(rows) for organ, rows in ground.carriers("organ").items()}
    first, second = next((a, b) for a, b in combinations(sizes, 2) if sizes[a] == sizes[b])
    evaluated(library, tmp_path, Stages(), left_out=[first])
    again = evaluated(library, tmp_path, Stages(), left_out=[second])
    classes = report_json(again)["encoders"]["pixels-32"]["patient"]["organ"]["classes"]
    assert second not in {one["label"] for one in classes}


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


def kept(folder, settings=QUICK, **changes):
    """Whether a small ground's contestant is found; it is kept for the next time."""
    ground, contestant = judged_ground(["femur", "head"] * 10, **changes)
    partial = Partial(folder, ground, ["organ"], settings)
    if partial.load(contestant) is not None:
        return True
    rankings = rank_contestant(ground, contestant, ["organ"], settings)
    partial.save(contestant, rankings, contestant_report(ground, contestant, rankings, settings))
    return False


@pytest.mark.parametrize(
    "changes",
    [
        {"vectors": unit(np.random.default_rng(1).normal(size=(20, 8)))},
        {"patients": ["one", "two", "three", "four"] * 5},
        {"devices": ["new", "old"] * 10},
        {"fingerprints": ["0" * 16] * 20},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_another_state_of_the_same_version_gave_is_not_used(tmp_path, changes):
    """A library that came back from a backup counts its versions on from there: one number, two states."""
    assert [kept(tmp_path), kept(tmp_path)] == [False, True]
    assert not kept(tmp_path, **changes)


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path):
    (tmp_path / FOLDER).touch()
    assert [kept(tmp_path), kept(tmp_path)] == [False, False]
