"""What the pictures of the shortcut controls show, on pictures small enough to be worked out by hand."""

import numpy as np

from app.domain import Box, RegionSource
from app.evaluation import control_pictures as draw
from app.images.region import ScanRegion


def a_picture():
    """8 rows, 10 columns: a background of 5, a scan of 100 in rows 2 to 5 and columns 3 to 7, a letter of 200."""
    pixels = np.full((8, 10), 5, np.uint8)
    pixels[2:6, 3:8] = 100
    pixels[0, 0] = 200
    return pixels


def a_scan(keep=None):
    return ScanRegion(Box(3, 2, 8, 6), keep, RegionSource.DETECTED)


def test_the_scan_is_its_box_without_the_marks_on_it():
    keep = np.ones((4, 5), np.bool_)
    keep[0, 0] = False
    mask = draw.scan_mask(a_picture(), a_scan(keep))
    assert mask.sum() == 4 * 5 - 1
    assert not mask[2, 3]
    assert draw.scan_mask(a_picture(), ScanRegion(None, None, RegionSource.NONE)).sum() == 0


def test_overlays_are_all_but_the_scan():
    pixels = a_picture()
    shown = draw.overlays(pixels, draw.scan_mask(pixels, a_scan()))
    assert shown[0, 0] == 200
    assert (shown[2:6, 3:8] == 0).all()
    assert (shown == 5).sum() == 80 - 20 - 1


def test_the_background_has_neither_scan_nor_marks():
    pixels = a_picture()
    pixels[7, 9] = 12  # within 16 levels of the background: a part of it
    shown = draw.background(pixels, draw.scan_mask(pixels, a_scan()))
    assert set(np.unique(shown)) == {5, 12}
    assert shown[0, 0] == 5
    assert (shown[2:6, 3:8] == 5).all()


def test_a_hull_is_filled_over_gaps_and_its_outline_follows_it():
    inside = np.zeros((20, 20), np.bool_)
    inside[4:16, 4:16] = True
    inside[9:11, 9:11] = False  # a dark spot in the scan
    assert (draw.hull_filled(inside)[4:16, 4:16] == 255).all()
    outline = draw.hull_outline(inside)
    assert outline[4, 4] == outline[6, 10] == 255  # three pixels wide
    assert outline[7, 10] == outline[10, 10] == outline[3, 10] == 0


def test_a_scan_that_fills_the_picture_has_an_outline_too():
    outline = draw.hull_outline(np.ones((12, 12), np.bool_))
    assert outline[0, 5] == outline[5, 11] == 255
    assert outline[6, 6] == 0


def test_no_scan_has_no_hull():
    assert draw.hull_filled(np.zeros((5, 5), np.bool_)).max() == 0
    assert draw.hull_outline(np.zeros((5, 5), np.bool_)).max() == 0


def test_a_size_is_a_rectangle_in_the_middle_of_a_square():
    square = draw.picture_size(width=4, height=2, side=8)
    assert square.shape == (8, 8)
    assert (square[3:5, 2:6] == 255).all()
    assert (square > 0).sum() == 8


def test_one_mask_hides_the_scans_of_all_pictures_whatever_their_sizes():
    left, right = np.zeros((100, 100), np.bool_), np.zeros((50, 200), np.bool_)
    left[40:60, 10:30] = True
    right[20:30, 140:180] = True
    shared = draw.shared_mask([left, right])
    assert shared.shape == (256, 256)
    for width, height in ((100, 100), (200, 50)):
        shown = draw.under_shared_mask(np.full((height, width), 9, np.uint8), shared)
        assert (shown[int(0.4 * height) : int(0.6 * height), int(0.1 * width) : int(0.3 * width)] == 0).all()
        assert (shown[int(0.4 * height) : int(0.6 * height), int(0.7 * width) : int(0.9 * width)] == 0).all()
        assert shown[height // 2, width // 2] == 9  # between them nothing is hidden
        assert shown[0, 0] == 9


def test_colour_is_shown_as_luma():
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    assert (draw.overlays(red, np.zeros((4, 4), np.bool_)) == 76).all()  # 0.299 x 255
