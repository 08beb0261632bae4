import numpy as np
import pytest
from PIL import Image

from app.domain import Frame
from app.encoders.base import embed
from app.errors import BadInput
from app.evaluation.baselines import (
    BASELINES,
    histogram_vectors,
    is_baseline,
    load_entrants,
    pictures_to_read,
    pixel_vectors,
    untrained_encoder,
)
from app.evaluation.protocol import Protocol, rank_all
from app.images.reader import read_stored
from app.scores.pixels import make_histogram


@pytest.fixture(scope="module")
def entrants(demo_service):
    read = []
    names = ["untrained-resnet", "resnet-us", "pixels-32", "histogram"]
    ground, found = load_entrants(demo_service.catalogue, "demo", names, progress=read.append)
    return ground, {one.name: one for one in found}, sum(read)


def test_baselines_stand_beside_encoders_in_the_order_of_their_names(entrants):
    ground, found, read = entrants
    assert list(found) == ["untrained-resnet", "resnet-us", "pixels-32", "histogram"]
    assert [name for name, one in found.items() if is_baseline(one)] == ["untrained-resnet", "pixels-32", "histogram"]
    assert read == pictures_to_read(len(ground), list(found)) == 3 * 72
    assert len({one.digest for one in found.values()}) == 4
    for one in found.values():
        assert one.snapshot.info == ground.info
        assert [each.id for each in one.snapshot.references] == [each.id for each in ground.references]
        assert np.linalg.norm(one.snapshot.vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_every_baseline_has_the_vectors_of_its_own_rows(entrants, demo_service):
    ground, found, _ = entrants
    row, key = 41, ground.references[41].id
    canvas = demo_service.catalogue.canvases([key])[key]
    assert np.array_equal(found["pixels-32"].snapshot.vectors[row], pixel_vectors([canvas.canvas])[0])
    roots = np.sqrt(np.bincount(canvas.canvas.ravel(), minlength=256) / canvas.canvas.size)
    assert found["histogram"].snapshot.vectors[row] == pytest.approx(roots, abs=1e-6)
    frame = Frame(read_stored(demo_service.catalogue.files.read(key)), demo_service.catalogue.get(key).facts)
    assert np.array_equal(found["untrained-resnet"].snapshot.vectors[row], embed(untrained_encoder(), [frame])[0])


def test_the_untrained_network_is_the_same_each_time_and_leaves_torch_as_it_was():
    import torch

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    untrained_encoder.cache_clear()
    first = untrained_encoder()
    assert torch.equal(torch.rand(3), expected)
    untrained_encoder.cache_clear()
    again = untrained_encoder()
    batch = np.random.default_rng(0).normal(size=(2, 1, 160, 160)).astype(np.float32)
    assert first is not again
    assert np.array_equal(first.core(batch), again.core(batch))
    assert first.digest == again.digest


def test_baselines_alone_are_judged_too(demo_service):
    ground, found = load_entrants(demo_service.catalogue, "demo", ["pixels-32"])
    (one,) = found
    ranked = rank_all(ground, one, "organ", Protocol.PATIENT)
    assert one.name == "pixels-32"
    assert (ranked.neighbours >= 0).all()
    query = int(ranked.queries[0])
    nearest = np.linalg.norm(one.snapshot.vectors - one.snapshot.vectors[query], axis=1)
    assert ranked.distances[0] == pytest.approx(nearest[ranked.neighbours[0]], abs=1e-5)


def test_histograms_are_ordered_as_the_bhattacharyya_coefficient_does():
    generator = np.random.default_rng(1)
    canvases = [np.clip(generator.normal(mean, 30, (256, 256)), 0, 255).astype(np.uint8) for mean in (60, 70, 110, 200)]
    shares = [make_histogram(one) / 65536 for one in canvases]
    coefficients = [np.sqrt(shares[0] * one).sum() for one in shares]
    vectors = histogram_vectors([make_histogram(one) for one in canvases])
    distances = np.linalg.norm(vectors - vectors[0], axis=1)
    assert distances == pytest.approx(np.sqrt(2 - 2 * np.asarray(coefficients)), abs=2e-3)
    assert np.argsort(distances).tolist() == [0, 1, 2, 3]


def test_pixels_are_areas_and_a_black_picture_has_a_direction():
    picture = np.zeros((256, 256), dtype=np.uint8)
    picture[:8, :8] = np.arange(64).reshape(8, 8)  # the first of 32 x 32 areas: 0..63, 31.5 on average
    vector, black = pixel_vectors([picture, np.zeros((256, 256), dtype=np.uint8)])
    length = np.hypot(32, 255)
    assert vector[0] == pytest.approx(32 / length, abs=1e-6)
    assert vector[-1] == pytest.approx(255 / length, abs=1e-6)
    assert np.count_nonzero(vector) == 2
    assert black.tolist() == [0.0] * 1024 + [1.0]
    assert np.asarray(Image.fromarray(picture).resize((32, 32), Image.Resampling.BOX))[0, 0] == 32


def test_an_empty_library_says_so(service):
    service.catalogue.put_library("empty")
    with pytest.raises(BadInput) as refusal:
        load_entrants(service.catalogue, "empty", list(BASELINES))
    assert refusal.value.code == "no_labels"
