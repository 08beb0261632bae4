"""The page of a report: one file that needs nothing, holds what it must, and cannot be broken by a label."""

import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from app.config import Settings as ServiceSettings
from app.encoders.device import choose_placement
from app.encoders.registry import open_encoder
from app.errors import Misconfigured, NotFound
from app.evaluation.baselines import load_entrants
from app.evaluation.frame_audit import stored_pixels
from app.evaluation.natural import natural_vectors
from app.evaluation.options import Options
from app.evaluation.page import render_page
from app.evaluation.pair_distances import EDGES, pair_distances
from app.evaluation.patient_report import Settings
from app.evaluation.protocol import Protocol, rank_all
from app.evaluation.run import evaluate
from app.search.editor import LabelEdit
from app.search.recorder import LOCAL
from app.wiring import open_library, running_service

QUICK = Settings(draws=100, flips=100, permutations=20, min_images=5)
EMPTY = {"meta", "img", "br", "link", "input", "hr"}
NASTY = '<script>alert(1)</script> & "quoted"'


class Structure(HTMLParser):
    """Notes ids, addresses, words and whatever is not closed in its place."""

    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.ids, self.addresses, self.words, self.tags = [], [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.ids += [value for name, value in attributes if name == "id"]
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.ids += [value for name, value in attributes if name == "id"]
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href")]

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def parsed(page):
    structure = Structure()
    structure.feed(page)
    structure.close()
    return structure


@pytest.fixture(scope="module")
def library(demo_data):
    return open_library(ServiceSettings(data=demo_data))


@pytest.fixture(scope="module")
def report(library):
    return evaluated(library, "demo")


@pytest.fixture(scope="module")
def page(library, report):
    return render_page(report, lambda row: stored_pixels(library.catalogue, report.ground.references[row]))


def evaluated(library, name):
    options = Options(["resnet-us", "pixels-32"], settings=QUICK, pixels=False)
    return evaluate(library.catalogue, library.weights, name, options)


def test_every_tag_is_closed_and_every_id_is_there_once(page):
    structure = parsed(page)
    assert structure.wrong == []
    assert structure.open == []
    assert len(structure.ids) == len(set(structure.ids))


def test_nothing_is_fetched_from_anywhere(page):
    structure = parsed(page)
    assert all(address.startswith(("data:image/", "#")) for address in structure.addresses)
    assert "@import" not in page
    assert not re.search(r"url\((?!#|\"#|'#|data:)", page)
    assert "default-src 'none'" in page


def test_links_lead_to_places_of_the_page(page):
    structure = parsed(page)
    targets = {address[1:] for address in structure.addresses if address.startswith("#")}
    assert targets
    assert targets <= set(structure.ids)


def test_the_summary_the_plots_and_the_provenance_are_there(report, page):
    structure = parsed(page)
    for sentence in report.summary:
        assert " ".join(sentence.split()) in structure.text
    for name, text in report.provenance.items():
        assert name in structure.text
        assert " ".join(text.split()) in structure.text
    assert structure.tags.count("svg") > 10
    assert structure.text.count("Figure 3") == 2  # one gallery for each of two encoders
    assert "Not a diagnosis" in structure.text


def test_two_runs_give_the_same_bytes_but_for_date_and_times(library, report, page):
    again = evaluated(library, "demo")
    second = render_page(again, lambda row: stored_pixels(library.catalogue, again.ground.references[row]))
    assert untimed(second) == untimed(page)


def untimed(page):
    page = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", "WHEN", page)
    return re.sub(r"(<dt>time: [^<]*</dt><dd>)[\d.]+ s", r"\1T s", page)


def test_without_pictures_there_are_none(report):
    structure = parsed(render_page(report, lambda _row: None))
    assert "img" in structure.tags  # the card of the map, which stays empty
    assert not [address for address in structure.addresses if address.startswith("data:image/jpeg")]
    assert "The pictures were left out" in structure.text


def test_a_label_that_looks_like_a_script_stays_text(tmp_path, phantoms):
    from harness import enrol_phantoms

    with running_service(ServiceSettings(data=tmp_path)) as service:
        enrol_phantoms(service, phantoms, "nasty")
        for one in service.catalogue.listing.page("nasty", limit=30):
            service.editor.relabel(one.id, LabelEdit({"organ": NASTY, "organ_group": NASTY}), by=LOCAL)
        library = open_library(ServiceSettings(data=tmp_path))
        page = render_page(evaluated(library, "nasty"), lambda _row: None)
    assert "<script>alert(1)" not in page
    structure = parsed(page)
    assert structure.wrong == []
    assert structure.tags.count("script") == 2  # the thumbnails and the page's own
    assert NASTY[:20] in structure.text


def test_without_the_extra_the_page_says_what_to_install(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(Misconfigured) as caught:
        render_page(report, lambda _row: None)
    assert caught.value.code == "extra_missing"
    assert "sonoseek[evaluation]" in caught.value.hint


def test_photographs_are_far_from_scans(library):
    ground, contestants = load_entrants(library.catalogue, "demo", ["resnet-us", "pixels-32"])
    natural = natural_vectors(contestants, lambda _name: open_default(library))
    assert set(natural) == {"resnet-us", "pixels-32"}
    ranked = rank_all(ground, contestants[0], "organ", Protocol.PATIENT)
    found = pair_distances(ground, contestants[0], ranked, natural["resnet-us"])
    centres = (EDGES[:-1] + EDGES[1:]) / 2
    assert found.natural.sum() == len(natural["resnet-us"]) * found.queries
    assert np.average(centres, weights=found.natural) > np.average(centres, weights=found.nearest)


def test_encoders_that_are_not_here_have_no_photographs(library):
    _, contestants = load_entrants(library.catalogue, "demo", ["resnet-us"])
    assert natural_vectors(contestants, None) == {}

    def missing(_name):
        raise NotFound("unknown_encoder", "there is none", hint="none")

    assert natural_vectors(contestants, missing) == {}


def open_default(library):
    return open_encoder("resnet-us", library.weights, choose_placement("cpu", threads=1))
