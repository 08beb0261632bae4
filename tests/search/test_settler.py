"""What becomes of images whose library changes while they are being read."""

import io

import pytest
from PIL import Image

from app.domain import Labels, Taxonomy
from app.images.phantom import draw_phantoms
from app.search.candidate import OfferedImage
from app.search.enroller import Enrolment
from app.search.recorder import LOCAL


@pytest.fixture(scope="module")
def pictures():
    found = []
    for phantom in draw_phantoms(count=2, seed=8):
        file = io.BytesIO()
        Image.fromarray(phantom.pixels).save(file, "PNG")
        found.append(file.getvalue())
    return found


@pytest.fixture
def offered(service, pictures):
    """One of the pictures, as a femur."""
    return lambda number: OfferedImage(service.enroller, Enrolment(Labels(organ="femur"), {}), lambda: pictures[number])


def test_a_library_that_is_deleted_meanwhile_is_not_made_again(service, offered):
    service.editor.put_library("gone", Taxonomy(), by=LOCAL)

    def candidates():
        yield offered(0)
        service.editor.delete_library("gone", confirm="gone", by=LOCAL)
        yield offered(1)

    outcomes = service.settler.settle("gone", candidates(), by=LOCAL)
    assert [outcome.error.code for outcome in outcomes] == ["unknown_library"] * 2
    assert service.catalogue.names() == []
    assert service.catalogue.all_ids() == set()


def test_groups_are_those_of_a_taxonomy_that_came_meanwhile(service, offered):
    service.editor.put_library("fetal", Taxonomy(organs={"femur": "limb"}), by=LOCAL)
    service.settler.settle("fetal", [offered(0)], by=LOCAL)

    def candidates():
        service.editor.put_library("fetal", Taxonomy(organs={"femur": "leg"}), by=LOCAL)
        yield offered(0)
        yield offered(1)

    outcomes = service.settler.settle("fetal", candidates(), by=LOCAL, on_conflict="update")
    assert {service.catalogue.get(one.reference_id).labels.organ_group for one in outcomes} == {"leg"}
