"""Near-duplicates: candidates against brute force, and copies of synthetic pictures against other pictures."""

import numpy as np
import pytest
from PIL import Image

from app.evaluation.near_duplicates import (
    CANDIDATE_NEIGHBOURS,
    Verdict,
    duplicate_groups,
    find_near_duplicates,
    near_by_hash,
    near_by_vector,
)
from app.evaluation.registration import SAME_PICTURE, correlation_on, find_points, place_on
from app.images.fingerprint import fingerprint
from app.images.phantom import draw_phantoms
from app.images.region import crop_to_region, detect_region
from app.scores.pixels import make_canvas


@pytest.fixture(scope="module")
def frames():
    phantoms = draw_phantoms(count=12, seed=11)
    return [crop_to_region(one.pixels, detect_region(one.pixels)) for one in phantoms]


def hashes_of(frames):
    return np.asarray([int(fingerprint(frame), 16) for frame in frames], dtype=np.uint64)


def reading(frames):
    canvases = [make_canvas(frame) for frame in frames]
    return lambda rows: [canvases[row] for row in rows]


def laid(first, second):
    placing = place_on(find_points(first), find_points(second))
    return 0.0 if placing is None else correlation_on(placing, first, second)


def cut(frame, left, top, right, bottom):
    height, width = frame.shape[:2]
    return frame[round(top * height) : round((1 - bottom) * height), round(left * width) : round((1 - right) * width)]


def test_hash_candidates_are_all_pairs_within_the_bits(monkeypatch):
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**63, 70, dtype=np.uint64)
    hashes[50:] = hashes[:20] ^ np.uint64(0b111)  # three bits apart
    expected = {(a, b) for a in range(70) for b in range(a + 1, 70) if int(hashes[a] ^ hashes[b]).bit_count() <= 12}
    assert len(expected) >= 20
    assert set(near_by_hash(hashes, 12)) == expected
    monkeypatch.setattr("app.evaluation.near_duplicates._BLOCK", 16)
    assert set(near_by_hash(hashes, 12)) == expected
    assert {pair for pair in near_by_hash(hashes, 2) if pair in expected} == set(near_by_hash(hashes, 2))
    assert (0, 50) in near_by_hash(hashes, 3)
    assert (0, 50) not in near_by_hash(hashes, 2)


def test_vector_candidates_are_the_ten_nearest_of_each_row(monkeypatch):
    vectors = np.random.default_rng(2).normal(size=(60, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = set()
    for row, vector in enumerate(vectors):
        distances = np.linalg.norm(vectors - vector, axis=1)
        distances[row] = np.inf
        expected |= {(min(row, int(o)), max(row, int(o))) for o in np.argsort(distances)[:CANDIDATE_NEIGHBOURS]}
    assert set(near_by_vector(vectors)) == expected
    monkeypatch.setattr("app.evaluation.near_duplicates._BLOCK", 7)
    assert set(near_by_vector(vectors)) == expected


def test_few_or_equal_vectors_give_every_pair_once():
    assert sorted(set(near_by_vector(np.ones((3, 1), np.float32)))) == [(0, 1), (0, 2), (1, 2)]
    assert list(near_by_vector(np.ones((1, 1), np.float32))) == []
    equal = list(near_by_vector(np.ones((20, 1), np.float32)))
    assert len(equal) == 20 * CANDIDATE_NEIGHBOURS  # ties by row: never more than ten of a row
    assert (0, 1) in equal


def test_groups_hang_together_by_pairs():
    # 0-3, 3-5 and 5-9 make one group; 1-2 another; 4, 6, 7, 8 are in none.
    assert duplicate_groups([(5, 9), (0, 3), (1, 2), (3, 5)]) == [[0, 3, 5, 9], [1, 2]]
    assert duplicate_groups([]) == []


def test_copies_can_be_laid_on_their_original_and_other_pictures_cannot(frames):
    original = frames[0]
    smaller = np.asarray(Image.fromarray(original).resize((original.shape[1] * 6 // 10, original.shape[0] * 6 // 10)))
    for copy in (original, smaller, cut(original, 0.1, 0.05, 0.08, 0.12)):
        assert laid(make_canvas(original), make_canvas(copy)) >= SAME_PICTURE
        assert laid(make_canvas(copy), make_canvas(original)) >= SAME_PICTURE
    assert all(laid(make_canvas(original), make_canvas(other)) < SAME_PICTURE for other in frames[1:])


def test_a_picture_without_points_lies_on_nothing(frames):
    blank = np.full((256, 256), 40, np.uint8)
    assert len(find_points(blank)) == 0
    assert laid(blank, make_canvas(frames[0])) == 0.0
    assert laid(blank, blank) == 0.0


def test_finding_copies_needs_hash_or_vector_to_look_there(frames):
    """A cut copy far away in hash and vector is not looked at; near in one of them, it is found."""
    everything = [*frames, cut(frames[3], 0.12, 0.1, 0.1, 0.12), frames[5]]
    hashes = hashes_of(everything)
    assert int(hashes[3] ^ hashes[12]).bit_count() > 12
    far = np.random.default_rng(3).normal(size=(len(everything), 32)).astype(np.float32)
    far /= np.linalg.norm(far, axis=1, keepdims=True)
    near = far.copy()
    near[12] = near[3]
    told = []
    found = find_near_duplicates(
        hashes, {"near": near}, reading(everything), lambda stage, done, of: told.append((stage, done, of))
    )
    assert [(one.first, one.second, one.verdict) for one in found] == [
        (3, 12, Verdict.SAME),
        (5, 13, Verdict.SAME),
    ]
    assert found[0].distances == {"near": 0.0}
    assert found[0].points >= 8
    assert found[1].bits == 0
    assert ("finding points", 14, 14) in told
    assert told[-1][1] == told[-1][2]
    assert found == find_near_duplicates(hashes, {"near": near}, reading(everything))
    without = find_near_duplicates(hashes, {}, reading(everything))
    assert [(one.first, one.second) for one in without] == [(5, 13)]


def test_equal_hashes_of_other_pictures_are_told_apart(frames):
    hashes = hashes_of(frames[:2])
    hashes[1] = hashes[0]
    (found,) = find_near_duplicates(hashes, {}, reading(frames[:2]))
    assert (found.verdict, found.bits) == (Verdict.ALIKE, 0)
