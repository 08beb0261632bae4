"""Embedding again while others change the library: no vector is of a frame that is there no longer."""

from dataclasses import replace

import numpy as np
import pytest
from harness import enrol_phantoms, other_weights
from stores import new

from app.config import Settings
from app.errors import NotFound
from app.search.rebuild import reembed
from app.wiring import running_service


class Meanwhile:
    """The batcher of a service; something happens when it has embedded, before its vectors are stored."""

    def __init__(self, batcher, happens):
        self._batcher, self._happens = batcher, happens

    def encode(self, encoder, frames, deadline_s):
        vectors = self._batcher.encode(encoder, frames, deadline_s=deadline_s)
        self._happens()
        return vectors


@pytest.fixture
def service(tmp_path, phantoms):
    """A library whose references have no vector of the present encoder."""
    with running_service(Settings(data=tmp_path / "data")) as old:
        enrol_phantoms(old, phantoms)
    other_weights(tmp_path / "models")
    with running_service(Settings(data=tmp_path / "data", models=tmp_path / "models")) as opened:
        yield opened


def test_a_reference_that_was_cropped_anew_meanwhile_gets_no_vector_of_its_old_frame(service):
    catalogue, encoder = service.catalogue, service.batcher.default
    key = min(catalogue.all_ids())
    facts = catalogue.get(key).facts

    def recrop():
        catalogue.recrop(key, replace(new(1, png=b"another frame"), facts=facts))

    reembed(catalogue, Meanwhile(service.batcher, recrop), encoder, "demo")
    assert catalogue.embeddings.missing("demo", encoder.digest) == [key]


def test_a_reference_that_was_removed_meanwhile_is_left_out(service):
    catalogue, encoder = service.catalogue, service.batcher.default
    first, second = sorted(catalogue.all_ids())[:2]

    def remove():
        catalogue.remove([first, second])

    reembed(catalogue, Meanwhile(service.batcher, remove), encoder, "demo")
    assert catalogue.embeddings.missing("demo", encoder.digest) == []
    with pytest.raises(NotFound):
        catalogue.frame(first)


def test_a_frame_that_vanishes_with_its_reference_while_frames_are_read(service, monkeypatch):
    """Between the look at the rows and at the files."""
    catalogue, encoder = service.catalogue, service.batcher.default
    gone = sorted(catalogue.all_ids())[0]
    read = catalogue.files.read

    def removed_first(key):
        catalogue.remove([gone])
        return read(key)

    monkeypatch.setattr(catalogue.files, "read", removed_first)
    missing = len(catalogue.embeddings.missing("demo", encoder.digest))
    assert reembed(catalogue, service.batcher, encoder, "demo") == missing - 1
    assert catalogue.embeddings.missing("demo", encoder.digest) == []
    assert np.isfinite(catalogue.embeddings.shelf("demo", encoder.digest)[1].vectors).all()
