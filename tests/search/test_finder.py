"""Searching the demo library through the whole service."""

import io
import subprocess
import sys
from dataclasses import replace

import pytest
from harness import PHANTOMS, enrol_phantoms, other_weights
from PIL import Image

from app.config import Settings
from app.errors import BadInput, Conflict, NotFound
from app.images.phantom import draw_phantoms, phantom_dicom
from app.search.answer import ImageQuery, Wish
from app.search.rebuild import reembed
from app.wiring import running_service


@pytest.fixture
def query(query_file):
    return ImageQuery(query_file.read_bytes())


@pytest.fixture(scope="module")
def enrolled():
    """The first phantom of the demo library, as a picture that is already enrolled."""
    return next(iter(draw_phantoms(count=1, seed=5)))


def test_an_answer_is_complete(demo_service, query):
    answer = demo_service.finder.find(query, Wish(k=5))
    assert [found.rank for found in answer.neighbours] == [1, 2, 3, 4, 5]
    distances = [found.distance for found in answer.neighbours]
    assert distances == sorted(distances)
    first = answer.neighbours[0]
    assert first.similarity == pytest.approx(1 - first.distance**2 / 2)
    assert 0 <= first.scores["histogram"] <= 1
    assert first.scores["mse"] > 0
    assert first.scores["dreamsim"] is None
    assert set(answer.unavailable) == {"dreamsim"}
    assert set(answer.timings_ms) == {"read", "encode", "search", "scores", "total"}
    assert answer.scope.verdict == "unknown"
    assert not answer.patient_excluded
    assert {found.kind for found in answer.evidence} >= {"organ", "organ_group"}


def test_the_same_picture_is_named_and_left_out(demo_service, phantoms):
    data = (phantoms / "images" / "phantom-0001.png").read_bytes()
    answer = demo_service.finder.find(ImageQuery(data), Wish(k=PHANTOMS))
    assert answer.reference_id is not None
    ids = [found.reference.id for found in answer.neighbours]
    assert len(ids) == PHANTOMS - 1
    assert answer.reference_id not in ids
    kept = demo_service.finder.find(ImageQuery(data), Wish(k=1, include_self=True))
    assert kept.neighbours[0].reference.id == answer.reference_id
    assert kept.neighbours[0].distance < 1e-6
    assert kept.neighbours[0].scores["mse"] == 0


def test_the_patient_of_a_dicom_is_left_out(demo_service, enrolled):
    answer = demo_service.finder.find(ImageQuery(phantom_dicom(enrolled)), Wish(k=PHANTOMS))
    assert answer.patient_excluded
    _, own = demo_service.catalogue.embeddings.shelf("demo", answer.encoder.digest)
    keys = dict(zip(own.ids, own.patient_keys, strict=True))
    everyone = demo_service.finder.find(ImageQuery(png_of(enrolled.pixels)), Wish(k=PHANTOMS, include_self=True))
    left_out = ids_of(everyone) - ids_of(answer)
    assert left_out
    assert {keys[key] for key in left_out} == {keys[next(iter(left_out))]}
    assert keys[next(iter(left_out))] not in {keys[key] for key in ids_of(answer)}


def test_a_patient_that_is_named_is_left_out_beside_the_one_of_the_header(demo_service, enrolled):
    other = next(p for p in draw_phantoms(count=9, seed=5) if p.patient_id != enrolled.patient_id)
    query = ImageQuery(phantom_dicom(enrolled))
    one = demo_service.finder.find(query, Wish(k=PHANTOMS))
    both = demo_service.finder.find(replace(query, patient_id=other.patient_id), Wish(k=PHANTOMS))
    assert ids_of(both) < ids_of(one)


def png_of(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def ids_of(answer):
    return {found.reference.id for found in answer.neighbours}


def test_the_patient_that_is_named_is_left_out_with_spaces_stripped(demo_service, query, enrolled):
    everyone = demo_service.finder.find(query, Wish(k=PHANTOMS))
    without = demo_service.finder.find(replace(query, patient_id=f" {enrolled.patient_id}\t\n"), Wish(k=PHANTOMS))
    assert without.patient_excluded
    assert 0 < len(without.neighbours) < len(everyone.neighbours)


def test_evidence_counts_the_neighbours(demo_service, query):
    answer = demo_service.finder.find(query, Wish(k=10))
    for found in answer.evidence:
        carriers = [n for n in answer.neighbours if found.label in n.reference.labels.values(found.kind)]
        assert found.found == len(carriers)


def test_scores_are_those_that_were_asked_for(demo_service, query):
    assert demo_service.finder.find(query, Wish(k=1, scores=())).neighbours[0].scores == {}
    assert set(demo_service.finder.find(query, Wish(k=1, scores=("mse",))).neighbours[0].scores) == {"mse"}
    with pytest.raises(BadInput):
        demo_service.finder.find(query, Wish(scores=("beauty",)))


def test_a_references_neighbours_are_those_of_its_picture_without_its_patient(demo_service, phantoms, enrolled):
    data = (phantoms / "images" / "phantom-0001.png").read_bytes()
    searched = demo_service.finder.find(ImageQuery(data, patient_id=enrolled.patient_id), Wish(k=10))
    like = demo_service.finder.find_like(searched.reference_id, Wish(k=10))
    assert [f.reference.id for f in like.neighbours] == [f.reference.id for f in searched.neighbours]
    assert [f.scores for f in like.neighbours] == [f.scores for f in searched.neighbours]
    with pytest.raises(BadInput):
        demo_service.finder.find_like(searched.reference_id, Wish(library="other"))


def test_names_that_do_not_exist(demo_service, query):
    with pytest.raises(NotFound) as caught:
        demo_service.finder.find(query, Wish(library="heart"))
    assert "demo" in caught.value.hint
    with pytest.raises(NotFound) as caught:
        demo_service.finder.find(query, Wish(encoder="dino"))
    assert "resnet-us" in caught.value.hint


def test_no_library_and_several_libraries_need_a_word(service, query):
    with pytest.raises(NotFound) as caught:
        service.finder.find(query, Wish())
    assert caught.value.code == "no_library"
    service.catalogue.put_library("a")
    assert service.finder.find(query, Wish()).neighbours == []
    service.catalogue.put_library("b")
    with pytest.raises(BadInput) as caught:
        service.finder.find(query, Wish())
    assert caught.value.code == "library_needed"


def test_what_another_process_enrols_is_seen_by_the_next_search(tmp_path, phantoms, query):
    data = tmp_path / "data"
    with running_service(Settings(data=data)) as reader:
        reader.catalogue.put_library("demo")
        assert reader.finder.find(query, Wish()).neighbours == []
        command = [sys.executable, "-m", "app", "enrol", "demo", str(phantoms / "manifest.csv")]
        subprocess.run(command, env={"SONOSEEK_DATA": str(data), "PATH": "/usr/bin:/bin"}, check=True)
        assert len(reader.finder.find(query, Wish()).neighbours) == 10


def test_vectors_of_other_weights_are_refused_until_they_are_embedded_again(tmp_path, phantoms, query):
    settings = Settings(data=tmp_path / "data")
    with running_service(settings) as old:
        enrol_phantoms(old, phantoms)
        old_digest = old.batcher.default.digest
    other_weights(tmp_path / "models")
    with running_service(Settings(data=tmp_path / "data", models=tmp_path / "models")) as new:
        encoder = new.batcher.default
        with pytest.raises(Conflict) as caught:
            new.finder.find(query, Wish())
        assert caught.value.code == "digest_mismatch"
        assert old_digest in caught.value.detail
        assert encoder.digest in caught.value.detail
        assert "sonoseek reembed demo" in caught.value.hint

        class Stop(Exception):
            pass

        def stop(_done):
            raise Stop

        with pytest.raises(Stop):
            reembed(new.catalogue, new.batcher, encoder, "demo", stop)
        with pytest.raises(Conflict):
            new.finder.find(query, Wish())  # half a library is not searched
        assert reembed(new.catalogue, new.batcher, encoder, "demo") == PHANTOMS - 32
        assert len(new.finder.find(query, Wish()).neighbours) == 10
        assert reembed(new.catalogue, new.batcher, encoder, "demo") == 0


def test_embedding_again_gives_the_same_bits(demo_service):
    from app.domain import Frame
    from app.images.reader import read_stored

    encoder = demo_service.batcher.default
    _, shelf = demo_service.catalogue.embeddings.shelf("demo", encoder.digest)
    for row in (0, 17, 40):
        found = demo_service.catalogue.get(shelf.ids[row])
        frame = Frame(read_stored(demo_service.catalogue.files.read(found.id)), found.facts)
        again = demo_service.batcher.encode(encoder, [frame])[0]
        assert again.tobytes() == shelf.vectors[row].tobytes()


def test_references_cropped_by_other_rules_are_searched_with_a_warning():
    from app.images.reader import FRAME_DIGEST
    from app.search.scope import Scope, with_frames_of

    scope = Scope("unknown", ("first",))
    assert with_frames_of(scope, {FRAME_DIGEST}) == scope
    assert with_frames_of(scope, set()) == scope
    warned = with_frames_of(scope, {FRAME_DIGEST, "sha256:older"})
    assert warned.warnings[0] == "first"
    assert "--on-conflict update" in warned.warnings[1]
