"""A store of an earlier version is brought up to date with everything in it."""

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text
from stores import DIGEST, new, opened_store

from app.library.reference import identity_of, reference_id

FIRST = "0001"


def make_first(url: str) -> None:
    """The tables of the first version with a library of two references, as that version wrote them."""
    engine = create_engine(url)
    config = Config()
    config.set_main_option("script_location", "app/library/migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, FIRST)
        for number, name in enumerate(("fetal", "early"), start=1):
            connection.execute(
                text('INSERT INTO libraries VALUES (:id, :name, 5, \'{"organs": {}, "diagnoses": {}}\', :at)'),
                {"id": number, "name": name, "at": "2026-01-02 03:04:05"},
            )
        for number in (1, 2):
            _insert_reference(connection, number)
    engine.dispose()


def _insert_reference(connection, number: int) -> None:
    item = new(number)
    key = reference_id("fetal", identity_of(item.facts))
    connection.execute(
        text(
            'INSERT INTO "references" (id, library_id, identity, diagnoses, diagnosis_groups, findings, attributes, '
            "sha256, format, width, height, region_source, frame_digest, fingerprint, enrolled_at) "
            "VALUES (:id, 1, :identity, '[\"normal\"]', '[]', '[]', '{}', :sha, 'png', 4, 3, 'none', :digest, "
            "'00ff', '2026-01-02 03:04:05')"
        ),
        {"id": key, "identity": identity_of(item.facts), "sha": item.facts.sha256, "digest": DIGEST},
    )
    for table, columns, values in (
        ("canvases", "canvas, histogram", ":blob, :blob"),
        ("embeddings", "digest, encoder, vector", "'sha256:x', 'resnet-us', :blob"),
        ("label_history", "at, actor, labels", "'2026-01-02 03:04:05', 'local', '{}'"),
    ):
        connection.execute(
            text(f"INSERT INTO {table} (reference_id, {columns}) VALUES (:key, {values})"),
            {"key": key, "blob": b"\0\0\x80\x3f"} if ":blob" in values else {"key": key},
        )


def test_a_store_of_the_first_version_keeps_everything_and_goes_on(empty_url, tmp_path):
    make_first(empty_url)
    with opened_store(empty_url, tmp_path) as store:
        catalogue = store.open()
        editions = catalogue.editions()
        assert [edition.version for edition in editions.values()] == [5, 5]
        assert len({edition.uid for edition in editions.values()} - {""}) == 2
        info, shelf = catalogue.embeddings.shelf("fetal", "sha256:x")
        assert (info.size, shelf.vectors.tolist()) == (2, [[1.0], [1.0]])
        with store.engines[0].connect() as connection:
            for table in ("canvases", "label_history"):
                assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 2
        (key,) = catalogue.add("fetal", [new(9)])
        changes = catalogue.embeddings.changes("fetal", DIGEST, editions["fetal"])
        assert (changes.shelf.ids, changes.removed) == ([key], [])
