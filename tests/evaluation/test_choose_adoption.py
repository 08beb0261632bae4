from dataclasses import replace

import numpy as np
import pytest
from judged_ground import judged_ground, unit

from app.domain import Labels
from app.errors import BadInput
from app.evaluation.adoption import adopt, choose
from app.evaluation.ground import Contestant
from app.evaluation.overlap import Overlap
from app.evaluation.patient_report import Settings, patient_report
from app.evaluation.protocol import Protocol

FEW = Settings(draws=100, flips=20, permutations=2)


@pytest.fixture(scope="module")
def judged():
    """Three encoders: ``organs`` sees organs only, ``findings`` findings only, and a baseline that sees both."""
    generator = np.random.default_rng(0)
    organs, findings = generator.integers(0, 3, 90), generator.integers(0, 3, 90)
    labels = [Labels(organ=f"o{a}", plane="axial", findings=(f"f{b}",)) for a, b in zip(organs, findings, strict=True)]
    noise = 0.3 * generator.normal(size=(90, 6))
    of_organ, of_finding = np.eye(6)[organs], np.eye(6)[3 + findings]
    made = {"organs": of_organ, "findings": of_finding, "pixels-32": of_organ + of_finding}
    contestants = []
    for name, vectors in made.items():
        ground, one = judged_ground(labels, unit(vectors + noise), patients=[f"p{row // 2}" for row in range(90)])
        contestants.append(Contestant(name, f"sha256:{name}", one.snapshot))
    return ground, patient_report(ground, contestants, settings=FEW)


def overlaps(**shares):
    return [
        Overlap(name, name.split("@")[0], f"sha256:{name}", 5, 90, round(90 * share), share, 0, "")
        for name, share in {"organs": 0.0, "findings": 0.0, "pixels-32": 0.0, **shares}.items()
    ]


def test_each_kind_takes_the_encoder_that_is_best_for_it(judged):
    ground, figures = judged
    organ, findings = choose(ground, figures, overlaps())
    assert (organ.kind, organ.adoption.encoder, organ.adoption.digest) == ("organ", "organs", "sha256:organs")
    assert (findings.kind, findings.adoption.encoder) == ("findings", "findings")
    report = figures.contestants[0].figures[Protocol.PATIENT]["organ"]
    assert organ.adoption.figure == report.p_at_10.micro > 0.9
    assert (organ.adoption.low, organ.adoption.high) == (report.both_roles.low, report.both_roles.high)
    assert organ.adoption.chance == report.chance.micro
    assert organ.adoption.library_version == ground.info.version
    assert organ.adoption.patients == "given"
    # The baseline is better than the loser here, and is no candidate all the same.
    assert list(organ.adoption.others) == ["findings"]
    assert "pixels-32 is a baseline" in organ.refused


def test_an_encoder_that_has_seen_more_than_one_percent_is_no_candidate(judged):
    ground, figures = judged
    organ, _ = choose(ground, figures, overlaps(organs=0.0101))
    assert organ.adoption.encoder == "findings"
    assert "organs was trained on 1.0 % of the library (1 % is allowed)" in organ.refused
    assert choose(ground, figures, overlaps(organs=0.01))[0].adoption.encoder == "organs"


def test_an_encoder_that_names_no_list_may_be_adopted(judged):
    ground, figures = judged
    unknown = [replace(one, listed=None, shared=None, share=None, of_their_patients=None) for one in overlaps()]
    assert choose(ground, figures, unknown)[0].adoption.encoder == "organs"


def test_nothing_is_adopted_where_all_carry_one_label():
    vectors = unit(np.random.default_rng(1).normal(size=(30, 4)))
    ground, one = judged_ground([Labels(organ="o")] * 30, vectors, patients=[f"p{row // 2}" for row in range(30)])
    contestants = [Contestant("organs", "sha256:organs", one.snapshot)]
    (choice,) = choose(ground, patient_report(ground, contestants, settings=FEW), overlaps())
    assert choice.adoption is None
    assert "the same label" in choice.why_not


def test_nobody_is_adopted_where_all_have_seen_the_library(judged):
    ground, figures = judged
    for one in choose(ground, figures, overlaps(organs=0.5, findings=1.0)):
        assert one.adoption is None
        assert "findings was trained on 100.0 % of the library" in one.why_not


def test_figures_with_the_own_patient_in_sight_are_refused(judged):
    ground, figures = judged
    paper = replace(figures, settings=replace(figures.settings, protocol=Protocol.PAPER))
    with pytest.raises(BadInput) as refusal:
        choose(ground, paper, overlaps())
    assert refusal.value.code == "not_for_adoption"


def test_adopting_stores_what_was_chosen_with_the_library(judged, service):
    ground, figures = judged
    service.catalogue.put_library("made")
    ground = replace(ground, info=service.catalogue.library("made"))
    choices = adopt(service.catalogue, ground, figures, overlaps(findings=0.5))
    assert [one.adoption.encoder for one in choices] == ["organs", "organs"]
    stored = service.catalogue.adoptions.all("made")
    assert stored == {one.kind: one.adoption for one in choices}
    adopt(service.catalogue, ground, figures, overlaps(organs=0.5, findings=0.5))
    assert service.catalogue.adoptions.all("made") == stored  # nobody chosen: what was adopted stays
