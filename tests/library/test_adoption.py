from datetime import UTC, datetime

import pytest
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.orm import configure_mappers
from stores import new, sqlite_url

from app.errors import Conflict, NotFound
from app.library.adoption import Adoption
from app.library.database import HEAD
from app.library.reference import Edition
from app.library.tables import AdoptionRow

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def adoption(kind="organ", encoder="resnet-us", figure=0.84, **changes):
    values = {
        "digest": "sha256:" + "a" * 64, "low": 0.82, "high": 0.86, "chance": 0.17, "patients": "given",
        "others": {"dinov2-vits14": 0.7}, "library_version": 3, "adopted_at": AT,
    }  # fmt: skip
    return Adoption(kind=kind, encoder=encoder, figure=figure, **{**values, **changes})


@pytest.fixture
def library(catalogue):
    catalogue.put_library("fetal")
    catalogue.put_library("early")
    catalogue.add("fetal", [new(1)])
    return catalogue


def test_adoptions_come_back_as_they_were_stored(library):
    plain = adoption("findings", low=None, high=None, chance=None, others={})
    library.adoptions.put("fetal", library.library("fetal").edition, [adoption(), plain])
    assert library.adoptions.all("fetal") == {"findings": plain, "organ": adoption()}
    assert library.adoptions.all("early") == {}


def test_a_kind_that_is_judged_again_replaces_its_own_and_no_other(library):
    edition = library.library("fetal").edition
    library.adoptions.put("fetal", edition, [adoption(), adoption("diagnoses", "dino-vits8")])
    library.adoptions.put("fetal", edition, [adoption(encoder="dreamsim-ensemble", figure=0.9)])
    adopted = library.adoptions.all("fetal")
    assert {kind: one.encoder for kind, one in adopted.items()} == {
        "organ": "dreamsim-ensemble",
        "diagnoses": "dino-vits8",
    }


def test_adopting_changes_no_version(library):
    before = library.library("fetal").edition
    library.adoptions.put("fetal", before, [adoption()])
    assert library.library("fetal").edition == before


def test_a_library_that_grew_since_still_adopts_and_one_made_anew_does_not(library):
    judged = library.library("fetal").edition
    library.add("fetal", [new(2)])
    library.adoptions.put("fetal", judged, [adoption()])
    for edition in (Edition("another", judged.version), Edition(judged.uid, judged.version + 9)):
        with pytest.raises(Conflict) as refusal:
            library.adoptions.put("fetal", edition, [adoption(encoder="other")])
        assert refusal.value.code == "library_changed"
    assert library.adoptions.all("fetal")["organ"].encoder == "resnet-us"


def test_what_a_deleted_library_adopted_is_gone(library):
    library.adoptions.put("fetal", library.library("fetal").edition, [adoption()])
    library.delete_library("fetal")
    with pytest.raises(NotFound):
        library.adoptions.all("fetal")
    library.put_library("fetal")
    assert library.adoptions.all("fetal") == {}


def test_the_migration_makes_the_table_that_is_declared(library, tmp_path):
    configure_mappers()
    engine = create_engine(sqlite_url(tmp_path))
    made = {column["name"]: column["nullable"] for column in inspect(engine).get_columns("adoptions")}
    assert made == {column.name: column.nullable for column in AdoptionRow.__table__.columns}
    assert inspect(engine).get_pk_constraint("adoptions")["constrained_columns"] == ["library_id", "kind"]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == HEAD
    engine.dispose()
