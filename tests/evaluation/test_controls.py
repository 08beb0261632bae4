"""Shortcut controls over libraries whose shortcuts are known."""

import csv
import io
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from app.config import Settings as ServiceSettings
from app.errors import BadInput
from app.evaluation.baselines import PIXELS, UNTRAINED
from app.evaluation.control_sources import manifest_sources, stored_sources
from app.evaluation.control_tables import control_section
from app.evaluation.controls import FRAME, FULL, SHARED, SIZE, WHAT, control_names, shortcut_controls, steps_of
from app.evaluation.ground import load_contestants
from app.evaluation.patient_report import Settings
from app.evaluation.protocol import Protocol
from app.images.phantom import draw_phantoms
from app.images.reader import ReadLimits
from app.library.manifest import read_manifest
from app.wiring import running_service

QUICK = Settings(draws=100, flips=100, permutations=10, min_images=5)


@pytest.fixture(scope="module")
def betrayed(tmp_path_factory):
    """Thirty phantoms without overlays of their own; a white mark in the corner says which of two organs it is."""
    folder = tmp_path_factory.mktemp("betrayed")
    rng = np.random.default_rng(3)
    rows = []
    for number, phantom in enumerate(draw_phantoms(count=30, seed=91)):
        organ = ("one", "two")[int(rng.integers(2))]
        scan = Image.fromarray(phantom.pixels).convert("L").crop(phantom.region).resize((300, 260))
        picture = np.zeros((400, 520), np.uint8)
        picture[100:360, 110:410] = np.asarray(scan)
        picture[8:40, 10:90] = 255 if organ == "one" else 0
        picture[8:40, 430:510] = 0 if organ == "one" else 255
        Image.fromarray(picture).save(folder / f"{number}.png")
        rows.append((f"{number}.png", f"p{number}", organ))
    path = folder / "manifest.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "patient_id", "organ"))
        writer.writerows(rows)
    with running_service(ServiceSettings(data=folder / "data")) as service:
        report = service.importer.run("betrayed", read_manifest(path), allow_unmasked=True)
        assert report.added == 30, report.bad
        yield service, path


def loaded(service, name="betrayed"):
    ground, contestants = load_contestants(service.catalogue, name, ["resnet-us"])
    return ground, contestants[0]


def test_marks_that_name_the_organ_are_found_out(betrayed):
    service, path = betrayed
    ground, rows = loaded(service)
    sources = manifest_sources(service.catalogue, ground, read_manifest(path), service.importer._keyer, ReadLimits())
    told = []
    found = shortcut_controls(
        ground, rows, {"resnet-us": service.batcher.default}, ["organ"], sources, QUICK, progress=told.append
    )
    assert sum(told) == steps_of(ground, sources)
    by = {(one.control, one.contestant): one for one in found}
    judged = [name for name in WHAT if name != SIZE]  # all pictures are of one size, so that control says nothing
    assert list(dict.fromkeys(one.control for one in found)) == judged
    assert {one.contestant for one in found} == {"resnet-us", PIXELS, UNTRAINED}
    assert by[SHARED, PIXELS].corrected > 0.9  # the mark is all that is left
    assert by[FRAME, PIXELS].corrected < 0.5  # the organ is drawn at random: the scan knows nothing of it
    assert by[SHARED, PIXELS].over_pixels is None
    full = by[FULL, "resnet-us"]
    assert full.over_pixels.value == pytest.approx(full.corrected - by[FULL, PIXELS].corrected)
    assert full.corrected == pytest.approx((full.p_at_10 - full.expected) / (1 - full.expected))
    (table,) = control_section(found).tables
    assert len(table.rows) == len(judged) * 3
    assert "all their pictures are one picture: picture size." in table.notes[-1]
    assert len({len(row) for row in table.rows} | {len(table.columns)}) == 1


def test_stored_frames_alone_give_four_controls_and_the_same_vectors(demo_service):
    ground, rows = loaded(demo_service, "demo")
    sources = stored_sources(demo_service.catalogue, ground)
    encoder = demo_service.batcher.default
    found = shortcut_controls(
        ground, rows, {"resnet-us": encoder}, ["organ"], sources, Settings(Protocol.PAPER, min_images=5, draws=100)
    )
    assert len(control_names(sources)) == 4
    real = next(one for one in found if (one.control, one.contestant) == (FRAME, "resnet-us"))
    from app.evaluation.protocol import rank_all
    from app.evaluation.trials import trials_of

    trials = trials_of(ground, rank_all(ground, rows, "organ", Protocol.PAPER))
    assert real.p_at_10 == pytest.approx(trials.found.sum() / trials.shown.sum(), abs=1e-12)


def test_a_manifest_without_all_pictures_is_refused(betrayed, tmp_path):
    service, path = betrayed
    ground, _ = loaded(service)
    short = path.with_name("short.csv")
    short.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:-2]), encoding="utf-8")
    with pytest.raises(BadInput) as refusal:
        manifest_sources(service.catalogue, ground, read_manifest(short), service.importer._keyer, ReadLimits())
    assert refusal.value.code == "sources_missing"
    assert refusal.value.detail.startswith("2 of 30")


def test_a_picture_that_was_exchanged_is_none_of_the_library(betrayed, tmp_path):
    service, path = betrayed
    ground, _ = loaded(service)
    original = (path.parent / "0.png").read_bytes()
    changed = io.BytesIO()
    Image.fromarray(np.arange(40_000, dtype=np.uint8).reshape(200, 200)).save(changed, "PNG")
    (path.parent / "0.png").write_bytes(changed.getvalue())
    try:
        with pytest.raises(BadInput) as refusal:
            manifest_sources(service.catalogue, ground, read_manifest(path), service.importer._keyer, ReadLimits())
        assert refusal.value.code == "sources_missing"
    finally:
        (path.parent / "0.png").write_bytes(original)


def test_controls_go_on_with_the_pictures_that_were_not_embedded(betrayed, tmp_path):
    service, path = betrayed
    ground, rows = loaded(service)
    sources = manifest_sources(service.catalogue, ground, read_manifest(path), service.importer._keyer, ReadLimits())
    asked = []

    def controls(sources, folder=tmp_path):
        asked.clear()
        return shortcut_controls(
            ground, rows, {"resnet-us": service.batcher.default}, ["organ"], sources, QUICK, partial=folder
        )

    def frame(row, last):
        asked.append(row)
        if len(asked) > last:
            raise KeyboardInterrupt
        return sources.frame(row)

    with pytest.raises(KeyboardInterrupt):  # all sizes are read, then one block of sixteen, and two more
        controls(replace(sources, frame=partial(frame, last=30 + 16 + 2)))
    again = controls(replace(sources, frame=partial(frame, last=1000)))
    assert asked == [*range(30), *range(16, 30)]
    assert again == controls(sources, None)
    controls(replace(sources, frame=partial(frame, last=1000), state="another manifest"))
    assert len(asked) == 60
