"""Scan regions: no text survives, tissue does; on sketches with known truth, on phantoms and on real images."""

import io
from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from app.domain import Box, RegionSource
from app.images.hull import fill_hull, hull_area, hull_of
from app.images.phantom import draw_phantoms
from app.images.region import REGION_RECIPE, ScanRegion, crop_to_region, detect_region

SIZES = [(320, 240), (384, 265), (640, 480), (1024, 768), (1600, 1200)]
SHAPES = ["linear", "trapezoid", "convex", "phased"]


@dataclass
class Screen:
    """A drawn screen, which pixels of it are tissue, and which carry writing beside the tissue."""

    pixels: np.ndarray
    tissue: np.ndarray
    writing: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))


def sector(width, height, shape):
    y, x = np.mgrid[:height, :width]
    top, bottom = 0.14 * height, 0.88 * height
    if shape == "linear":
        return (x >= 0.25 * width) & (x < 0.78 * width) & (y >= top) & (y < bottom)
    if shape == "trapezoid":
        half = (0.15 + 0.18 * (y - top) / (bottom - top)) * width
        return (y >= top) & (y < bottom) & (abs(x - 0.5 * width) < half)
    probe, angle = (0.25 * height, np.deg2rad(34)) if shape == "convex" else (0.02 * height, np.deg2rad(42))
    apex = top - probe * np.cos(angle)
    radius, theta = np.hypot(x - 0.5 * width, y - apex), np.arctan2(x - 0.5 * width, y - apex)
    return (radius >= probe) & (radius <= bottom - apex) & (abs(theta) <= angle)


def speckle(width, height, rng, gain=1.0):
    """Log-compressed speckle with slow changes of brightness, a black cyst and a black shadow."""
    grain = max(0.7, width / 900)
    parts = [ndimage.gaussian_filter(rng.normal(size=(height, width)), (grain * 0.7, grain * 1.3)) for _ in "ri"]
    envelope = np.hypot(*parts)
    slow = ndimage.gaussian_filter(rng.normal(size=(height, width)), width / 25)
    y, x = np.mgrid[:height, :width]
    level = 60 + 22 * np.log(envelope / envelope.mean() + 0.02) + 25 * slow / slow.std()
    level *= gain * (1.25 - 0.6 * y / height)
    cyst = ((x / width - 0.45) / 0.08) ** 2 + ((y / height - 0.5) / 0.1) ** 2 < 1
    shadow = (abs(x / width - 0.57) < 0.025) & (y > 0.55 * height)
    level[cyst | shadow] = rng.normal(2, 1.5, (cyst | shadow).sum())
    return np.clip(level, 0, 255)


def scan(width, height, shape, seed=1, gain=1.0):
    tissue = sector(width, height, shape)
    level = speckle(width, height, np.random.default_rng(seed), gain)
    return Screen(np.where(tissue, level, 0).astype(np.uint8), tissue)


def writing(width, height):
    """Names, settings, a footer, a grey bar, a ruler, a logo and an ECG trace, none of them on the tissue."""
    image = Image.new("L", (width, height))
    draw = ImageDraw.Draw(image)
    size = max(9, round(height * 0.02))
    small, large = ImageFont.load_default(size), ImageFont.load_default(round(size * 1.5))
    draw.text((0.02 * width, 0.02 * height), "DOE^JANE 1987-03-04", font=large, fill=255)
    draw.text((0.02 * width, 0.08 * height), "ID 123456", font=small, fill=200)
    for row, line in enumerate(["FH 4.5", "C5-2 OB", "Gn 12", "DR 65", "MI 1.1", "TIs 0.2"]):
        draw.text((0.88 * width, (0.12 + 0.03 * row) * height), line, font=small, fill=180 - 15 * row)
    draw.text((0.55 * width, 0.95 * height), "Clinic 12:44:31", font=small, fill=90)
    for row in range(int(0.2 * height)):
        y = 0.3 * height + row
        draw.line((0.03 * width, y, 0.05 * width, y), fill=int(255 - 255 * row / (0.2 * height)))
    for row in range(10):
        y = (0.4 + 0.05 * row) * height
        draw.line((0.96 * width, y, 0.975 * width, y), fill=150)
    ring = (0.93 * width, 0.02 * height, 0.97 * width, 0.02 * height + 0.04 * width)
    draw.ellipse(ring, outline=220, width=max(1, width // 300))
    beat = [(x, (0.93 - 0.02 * (x % (width // 20) < width // 100)) * height) for x in range(width // 20, width // 2)]
    draw.line(beat, fill=230, width=max(1, width // 500))
    return np.asarray(image)


def write_on(screen):
    height, width = screen.tissue.shape
    ink = writing(width, height)
    screen.pixels = np.where(ink > 0, ink, screen.pixels)
    screen.writing = (ink > 0) & ~screen.tissue
    return screen


def as_jpeg(pixels, quality=90):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def kept(pixels, region):
    keep = np.zeros(pixels.shape[:2], bool)
    if region.box is None:
        return ~keep
    x0, y0, x1, y1 = region.box
    keep[y0:y1, x0:x1] = True if region.keep is None else region.keep
    return keep


def assert_clean(screen, pixels=None, spill=0.12):
    pixels = screen.pixels if pixels is None else pixels
    region = detect_region(pixels)
    keep = kept(pixels, region)
    assert region.source is RegionSource.DETECTED
    assert not (keep & screen.writing).any()
    assert (keep & screen.tissue).sum() >= 0.99 * screen.tissue.sum()
    assert (keep & ~screen.tissue).sum() <= spill * screen.tissue.sum()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_no_writing_survives_and_tissue_does(shape, size):
    assert_clean(write_on(scan(*size, shape)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gain", [0.4, 0.7, 1.6, 2.2])
def test_dim_and_bright_scans(shape, gain):
    assert_clean(write_on(scan(640, 480, shape, seed=2, gain=gain)))


@pytest.mark.parametrize("quality", [75, 95])
@pytest.mark.parametrize("shape", SHAPES)
def test_jpeg_ringing_is_no_tissue(shape, quality):
    screen = write_on(scan(800, 600, shape, seed=3))
    assert_clean(screen, as_jpeg(screen.pixels, quality))


@pytest.mark.parametrize("paint", ["flat bar", "gradient bar", "side panel", "grey screen", "white page"])
@pytest.mark.parametrize("shape", ["linear", "convex"])
@pytest.mark.parametrize("quality", [None, 85])
def test_painted_screens(shape, paint, quality):
    screen = write_on(scan(800, 600, shape, seed=4))
    height, width = screen.tissue.shape
    y, x = np.mgrid[:height, :width]
    bar = y < 0.065 * height
    areas = {
        "flat bar": (bar, 60),
        "gradient bar": (bar, 40 + 100 * y / (0.065 * height)),
        "side panel": (bar | (x < 0.13 * width), 90),
        "grey screen": (np.ones_like(bar), 48),
        "white page": (np.ones_like(bar), 255),
    }
    area, level = areas[paint]
    ink = np.where(screen.writing, 255 - screen.pixels, 0) if paint == "white page" else screen.pixels
    painted = np.where(area & ~screen.tissue & ~screen.writing, level, ink)
    screen.pixels = np.where(screen.tissue, screen.pixels, painted).astype(np.uint8)
    assert_clean(screen, screen.pixels if quality is None else as_jpeg(screen.pixels, quality))


@pytest.mark.parametrize("colour", [(255, 200, 0), (0, 0, 255), (200, 0, 0)])
def test_colour_screens(colour):
    screen = write_on(scan(800, 600, "convex", seed=5))
    rgb = np.stack([screen.pixels] * 3, axis=-1)
    rgb[screen.writing] = colour
    rgb[250:330, 380:460] = (rgb[250:330, 380:460] * (1.0, 0.3, 0.1)).astype(np.uint8)
    assert_clean(screen, rgb)


@pytest.mark.parametrize("offset", [8, 16, 24])
def test_black_that_is_not_zero(offset):
    screen = write_on(scan(640, 480, "convex", seed=6))
    assert_clean(screen, np.maximum(screen.pixels, offset))


def test_letters_in_a_bay_of_the_outline_are_blanked():
    screen = scan(640, 480, "linear", seed=7)
    screen.tissue[60:180, 420:] = False
    screen.pixels[~screen.tissue] = 0
    image = Image.fromarray(screen.pixels)
    ImageDraw.Draw(image).text((440, 72), "DOE", font=ImageFont.load_default(14), fill=240)
    drawn = np.asarray(image)
    screen.writing = (drawn > 0) & ~screen.tissue
    assert_clean(screen, drawn, spill=0.2)


def test_calipers_stay():
    screen = scan(800, 600, "convex", seed=8)
    image = Image.fromarray(screen.pixels)
    draw = ImageDraw.Draw(image)
    for x, y in [(330, 300), (390, 300), (420, 420), (300, 380)]:
        draw.line((x - 6, y, x + 6, y), fill=255)
        draw.line((x, y - 6, x, y + 6), fill=255)
    drawn = np.asarray(image)
    marks = drawn != screen.pixels
    assert marks.sum() > 40
    assert kept(drawn, detect_region(drawn))[marks].all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("gain", [0.5, 1.0, 1.6])
def test_nothing_is_cut_from_a_full_frame(size, gain):
    pixels = speckle(*size, np.random.default_rng(9), gain).astype(np.uint8)
    region = detect_region(pixels)
    assert region == ScanRegion(Box(0, 0, *size), None, RegionSource.FULL_FRAME)
    assert np.array_equal(crop_to_region(pixels, region), pixels)


def page(width, height, size, ink, paper, quality):
    image = Image.new("L", (width, height), paper)
    draw = ImageDraw.Draw(image)
    line = "Doe Jane born 1987 head circumference 172 mm four chamber view seen placenta posterior " * 4
    for row, y in enumerate(range(size, height - 2 * size, round(size * 1.3))):
        if row % 6:
            draw.text((size, y), line[row : row + int(1.7 * width / size)], font=ImageFont.load_default(size), fill=ink)
    return np.asarray(image) if quality is None else as_jpeg(np.asarray(image), quality)


@pytest.mark.parametrize("quality", [None, 90, 75])
@pytest.mark.parametrize(("ink", "paper"), [(255, 0), (0, 255), (255, 60), (30, 200), (20, 240), (160, 60)])
@pytest.mark.parametrize("size", [9, 12, 16, 24, 40])
def test_a_page_of_text_is_no_scan(size, ink, paper, quality):
    for width, height in [(384, 512), (768, 1024)]:
        pixels = page(width, height, size, ink, paper, quality)
        assert detect_region(pixels) == ScanRegion(None, None, RegionSource.NONE)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 3), (40, 40), (480, 640)])
@pytest.mark.parametrize("level", [0, 7, 100, 255])
def test_flat_pictures_hold_no_scan(shape, level):
    pixels = np.full(shape, level, np.uint8)
    region = detect_region(pixels)
    assert region == ScanRegion(None, None, RegionSource.NONE)
    whole = crop_to_region(pixels, region)
    assert np.array_equal(whole, pixels)
    assert whole is not pixels


@pytest.mark.parametrize("shape", [(64, 2048), (2048, 64), (512, 16), (16, 512)])
def test_long_strips_are_no_reason_to_fail(shape):
    strip = np.tile(np.random.default_rng(3).integers(1, 256, (16, 16)), (shape[0] // 16, shape[1] // 16))
    assert detect_region(strip.astype(np.uint8)).source in (RegionSource.NONE, RegionSource.FULL_FRAME)


def test_gradients_hold_no_scan():
    ramp = np.tile(np.linspace(0, 255, 480)[:, None], (1, 640)).astype(np.uint8)
    assert detect_region(ramp).source is RegionSource.NONE


def test_a_dicom_box_stays_and_its_corner_text_goes():
    screen = write_on(scan(800, 600, "convex", seed=10))
    box = Box(0, 60, 800, 600)
    region = detect_region(screen.pixels, within=box)
    keep = kept(screen.pixels, region)
    inside = np.zeros_like(keep)
    inside[60:] = True
    assert (region.box, region.source) == (box, RegionSource.DICOM)
    assert not (keep & screen.writing).any()
    assert (keep & screen.tissue).sum() == (screen.tissue & inside).sum()


@pytest.mark.parametrize("box", [Box(220, 100, 600, 500), Box(0, 0, 800, 600), Box(0, 0, 5, 5)])
def test_a_dicom_box_without_text_needs_no_mask(box):
    screen = scan(800, 600, "linear", seed=11)
    assert detect_region(screen.pixels, within=box) == ScanRegion(box, None, RegionSource.DICOM)


def test_crops_are_copies_with_zeros_outside_the_mask():
    pixels = np.full((6, 8, 3), 9, np.uint8)
    keep = np.eye(3, dtype=bool)
    crop = crop_to_region(pixels, ScanRegion(Box(2, 1, 5, 4), keep, RegionSource.DETECTED))
    assert crop.shape == (3, 3, 3)
    assert (crop[keep] == 9).all()
    assert (crop[~keep] == 0).all()
    assert (pixels == 9).all()


def test_the_same_pixels_give_the_same_region():
    screen = write_on(scan(640, 480, "phased", seed=12))
    before = screen.pixels.copy()
    first, second = detect_region(screen.pixels), detect_region(screen.pixels)
    assert first.box == second.box
    assert np.array_equal(first.keep, second.keep)
    assert np.array_equal(before, screen.pixels)


def test_a_hull_holds_its_cells_and_their_area():
    cells = np.zeros((5, 6), bool)
    cells[1, 1] = cells[3, 4] = True
    hull = hull_of(cells)
    assert hull_area(hull) == 6.0
    assert fill_hull(hull, 10, 60, 50)[12:38:25, 12:48:35].diagonal().all()
    assert not fill_hull(hull, 10, 60, 50)[:, :9].any()


def test_the_recipe_names_its_version():
    assert REGION_RECIPE.startswith("region-1 ")


def test_phantoms_lose_their_text_and_keep_their_tissue():
    for phantom in draw_phantoms(24, seed=2):
        pixels, tissue = phantom.pixels, phantom.tissue
        bright = pixels if pixels.ndim == 2 else pixels.max(axis=2)
        keep = kept(pixels, detect_region(pixels))
        assert not (keep & ~tissue & (bright > 24)).any(), phantom.name
        lit = tissue & (bright > 8)
        assert (keep & lit).sum() >= 0.99 * lit.sum(), phantom.name


@pytest.mark.parametrize(
    ("folder", "lost"), [("fetal", 0.25), ("early", 0.2), ("hc18", 0.05), ("breast", 0.03), ("lung", 0.1)]
)
def test_real_images_lose_little_that_is_lit(real_data, folder, lost):
    files = sorted((real_data / folder / "images").iterdir())[::7]
    assert len(files) >= 15
    for file in files:
        pixels = np.asarray(Image.open(file).convert("L"))
        region = detect_region(pixels)
        lit = pixels > 20
        assert region.source is not RegionSource.NONE, file.name
        assert (lit & ~kept(pixels, region)).sum() <= lost * lit.sum(), file.name


def test_most_real_linear_crops_are_full_frames(real_data):
    files = sorted((real_data / "breast" / "images").iterdir())[::5]
    sources = [detect_region(np.asarray(Image.open(file).convert("L"))).source for file in files]
    assert sources.count(RegionSource.FULL_FRAME) >= 0.8 * len(files)
