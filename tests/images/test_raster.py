"""PNG, JPEG, WebP, BMP and TIFF: exact pixels, depths, alpha, orientation, pages, damage."""

import struct
import zlib
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from app.errors import BadInput, TooLarge
from app.images.decoded import Decoded
from app.images.limits import ReadLimits
from app.images.magic import sniff
from app.images.raster import decode_raster

RANDOM = np.random.default_rng(3)
GREY = RANDOM.integers(0, 256, (24, 40)).astype(np.uint8)
COLOUR = RANDOM.integers(0, 256, (24, 40, 3)).astype(np.uint8)
DEEP = np.linspace(0, 65535, 24 * 40).astype(np.uint16).reshape(24, 40)


def packed(picture: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decode(data: bytes, frame: int | None = None, **limits: int) -> Decoded:
    return decode_raster(data, sniff(data), limits=ReadLimits(**limits), frame=frame)


def refusal(data: bytes, frame: int | None = None, **limits: int) -> str:
    with pytest.raises(BadInput) as caught:
        decode(data, frame, **limits)
    assert caught.value.__context__ is None or isinstance(caught.value.__context__, BadInput)
    return caught.value.code


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))


LOSSLESS = {"PNG": {}, "BMP": {}, "TIFF": {"compression": "tiff_lzw"}, "WEBP": {"lossless": True, "exact": True}}


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("picture", [GREY, COLOUR], ids=["grey", "colour"])
def test_lossless_formats_are_read_bit_by_bit(kind: str, picture: np.ndarray) -> None:
    decoded = decode(packed(picture, kind, **LOSSLESS[kind]))
    assert decoded.pixels.dtype == np.uint8
    assert np.array_equal(decoded.pixels, picture)
    assert (decoded.frame, decoded.frames, decoded.header) == (None, 1, None)


def test_jpeg_grey_and_colour() -> None:
    smooth = np.linspace(0, 255, 64).astype(np.uint8)[None].repeat(32, axis=0)
    assert np.abs(decode(packed(smooth, "JPEG", quality=95)).pixels.astype(int) - smooth).max() <= 3
    red = np.zeros((32, 64, 3), np.uint8)
    red[..., 0] = 255
    assert np.abs(decode(packed(red, "JPEG", quality=95)).pixels.astype(int) - red).max() <= 3


def test_rgb_of_equal_channels_is_grey_and_of_almost_equal_ones_is_not() -> None:
    same = np.repeat(GREY[..., None], 3, axis=2)
    assert np.array_equal(decode(packed(same)).pixels, GREY)
    same[20, 30, 2] ^= 1
    assert np.array_equal(decode(packed(same)).pixels, same)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_divided_by_257(kind: str) -> None:
    assert np.array_equal(decode(packed(DEEP, kind)).pixels, np.rint(DEEP / 257))


def tiff(samples: np.ndarray, bits: int, photometric: int, order: str = "<") -> bytes:
    """A minimal uncompressed TIFF, one strip."""
    height, width = samples.shape[:2]
    count = samples.shape[2] if samples.ndim == 3 else 1
    body = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    bit_list = struct.pack(order + "H" * count, *[bits] * count)
    start = 8 + len(body) + len(bit_list)
    in_place = count == 1
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, count, bits if in_place else 8 + len(body)),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, 8),
        (277, 3, 1, count),
        (278, 4, 1, height),
        (279, 4, 1, len(body)),
    ]
    directory = struct.pack(order + "H", len(entries))
    for tag, kind, number, value in entries:
        short = kind == 3 and number == 1
        directory += struct.pack(order + ("HHIHxx" if short else "HHII"), tag, kind, number, value)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "I", start) + body + bit_list + directory + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_tiff_in_both_byte_orders(order: str) -> None:
    assert np.array_equal(decode(tiff(DEEP, 16, 1, order)).pixels, np.rint(DEEP / 257))
    colour = np.stack([DEEP, DEEP[::-1], DEEP // 2], axis=-1)
    assert np.abs(decode(tiff(colour, 16, 2, order)).pixels - colour / 257).max() <= 1


def test_white_is_zero_tiffs_are_inverted() -> None:
    assert np.array_equal(decode(tiff(GREY, 8, 0)).pixels, 255 - GREY)
    assert np.array_equal(decode(tiff(DEEP, 16, 0)).pixels, 255 - np.rint(DEEP / 257))


def test_sixteen_bit_colour_png() -> None:
    colour = np.stack([DEEP, DEEP[::-1], DEEP // 2], axis=-1)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colour)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 24, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert np.abs(decode(data).pixels - colour / 257).max() <= 1


@pytest.mark.parametrize("picture", [np.float32(GREY), np.int32(GREY)], ids=["float", "32 bits"])
def test_deeper_pixels_are_refused(picture: np.ndarray) -> None:
    assert refusal(packed(picture, "TIFF")) == "unsupported_depth"


def test_alpha_lies_on_black() -> None:
    layer = np.dstack([COLOUR, np.full((24, 40), 255, np.uint8)])
    layer[:12, :, 3] = 0
    layer[12:18, :, 3] = 128
    pixels = decode(packed(layer)).pixels
    assert pixels[:12].max() == 0
    assert np.abs(pixels[12:18] - COLOUR[12:18] * (128 / 255)).max() <= 1
    assert np.array_equal(pixels[18:], COLOUR[18:])


def test_grey_alpha_and_transparent_colours() -> None:
    alpha = np.dstack([GREY, np.repeat([[0], [255]], 12, axis=0).repeat(40, axis=1).astype(np.uint8)])
    pixels = decode(packed(Image.merge("LA", [Image.fromarray(alpha[..., n]) for n in (0, 1)]))).pixels
    assert pixels[:12].max() == 0
    assert np.array_equal(pixels[12:], GREY[12:])
    palette = Image.fromarray(GREY // 64).convert("P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    pixels = decode(packed(palette, transparency=1)).pixels
    colours = np.array([[255, 0, 0], [0, 0, 0], [0, 0, 255], [9, 9, 9]])
    assert np.array_equal(pixels, colours[GREY // 64])


def test_palette_bilevel_and_cmyk() -> None:
    bilevel = Image.fromarray(GREY > 100)
    assert np.array_equal(decode(packed(bilevel)).pixels, np.where(GREY > 100, 255, 0))
    red = decode(packed(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "JPEG")).pixels[16, 16]
    assert np.abs(red - np.array([255.0, 0, 0])).max() <= 2


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(kind: str) -> None:
    options = LOSSLESS[kind]
    assert np.array_equal(decode(packed(COLOUR, kind, exif=turned(6), **options)).pixels, np.rot90(COLOUR, -1))
    assert np.array_equal(decode(packed(COLOUR, kind, exif=turned(3), **options)).pixels, np.rot90(COLOUR, 2))


def test_a_damaged_exif_block_does_not_matter() -> None:
    data = packed(GREY, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f", quality=100)
    assert decode(data).pixels.shape == GREY.shape


def pages(count: int) -> bytes:
    images = [Image.fromarray(GREY + np.uint8(number)) for number in range(count)]
    return packed(images[0], "TIFF", save_all=True, append_images=images[1:])


def test_tiff_pages_are_frames() -> None:
    data = pages(5)
    middle, last = decode(data), decode(data, 5)
    assert (middle.frame, middle.frames, last.frame) == (3, 5, 5)
    assert np.array_equal(middle.pixels, GREY + np.uint8(2))
    assert np.array_equal(last.pixels, GREY + np.uint8(4))
    for wanted in (0, 6, -1):
        assert refusal(data, wanted) == "bad_frame"


def test_a_still_has_one_frame_and_no_number() -> None:
    for kind in ("PNG", "TIFF"):
        assert decode(packed(GREY, kind), 1).frame is None
        assert refusal(packed(GREY, kind), 2) == "bad_frame"


def test_the_first_picture_of_an_animation_counts() -> None:
    moving = packed(Image.fromarray(COLOUR), "PNG", save_all=True, append_images=[Image.fromarray(COLOUR[::-1])])
    assert np.array_equal(decode(moving).pixels, COLOUR)


def test_too_many_pages() -> None:
    with pytest.raises(TooLarge) as caught:
        decode(pages(6), max_frames=5)
    assert caught.value.code == "too_many_frames"


@pytest.mark.parametrize("side", [60_000, 12_000, 8_001])
def test_a_bomb_is_refused_from_its_header(side: int) -> None:
    with pytest.raises(TooLarge) as caught:
        decode(png_header(side, side))
    assert caught.value.code == "too_many_pixels"


def test_the_limit_on_pixels() -> None:
    assert decode(packed(GREY), max_pixels=960).pixels.shape == (24, 40)
    assert refusal(packed(GREY), max_pixels=959) == "too_many_pixels"


@pytest.mark.parametrize("size", [(1, 1), (15, 40), (40, 15)])
def test_too_small(size: tuple[int, int]) -> None:
    assert refusal(packed(np.zeros(size, np.uint8))) == "image_too_small"


@pytest.mark.parametrize("size", [(16, 1_000_000), (1_000_000, 16), (16, 513), (32_769, 1025)])
def test_too_long_is_refused_from_the_header(size: tuple[int, int]) -> None:
    assert refusal(png_header(*size)) == "image_too_long"


@pytest.mark.parametrize("kind", ["BMP", "TIFF"])
def test_too_long_whatever_the_format(kind: str) -> None:
    assert refusal(packed(np.zeros((16, 513), np.uint8), kind)) == "image_too_long"
    assert decode(packed(np.zeros((16, 512), np.uint8), kind)).pixels.shape == (16, 512)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_cut_short_anywhere(kind: str) -> None:
    data = packed(COLOUR, kind)
    for cut in np.linspace(26, len(data) - 60, 40).astype(int):
        assert refusal(data[:cut]) == "undecodable_image"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_damaged_anywhere(kind: str) -> None:
    data = packed(COLOUR, kind)
    random = np.random.default_rng(5)
    for _ in range(200):
        damaged = bytearray(data)
        for place in random.integers(16, len(data), 3):
            damaged[place] = random.integers(256)
        with suppress(BadInput):
            assert decode(bytes(damaged)).pixels.dtype == np.uint8
