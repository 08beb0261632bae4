"""The screens of the two synthetic scanners: windows, and what is burned in around the scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from app.domain import Box, Pixels
from app.images.phantom_exam import Exam
from app.images.phantom_patient import DEVICES, Patient

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Screen:
    """A scanner's screen: size, the window the scan is shown in, and whether it is in colour."""

    width: int
    height: int
    window: Box
    colour: bool


SCREENS = {
    DEVICES[0]: Screen(640, 480, Box(44, 40, 568, 452), colour=False),
    DEVICES[1]: Screen(800, 600, Box(96, 58, 744, 558), colour=True),
}


def compose(exam: Exam, patient: Patient, age: str) -> tuple[Pixels, NDArray[np.bool_], Box]:
    """The whole screen with text, logo, grey bar and ruler; the sector's mask in it and the mask's box."""
    screen = SCREENS[patient.device]
    picture = Image.new("RGB" if screen.colour else "L", (screen.width, screen.height))
    paint = _paint_a if patient.device == DEVICES[0] else _paint_b
    paint(ImageDraw.Draw(picture), screen, exam, _lines(exam, patient, age))
    pixels = np.array(picture)
    tissue = np.zeros(pixels.shape[:2], np.bool_)
    x0, y0, x1, y1 = screen.window
    tissue[y0:y1, x0:x1] = exam.mask
    grey = exam.grey[exam.mask]
    pixels[tissue] = grey[:, None] if screen.colour else grey
    return pixels, tissue, _bounds(tissue)


def _lines(exam: Exam, patient: Patient, age: str) -> list[str]:
    """The settings that a scanner shows beside the scan."""
    label = {"convex": "C5-1", "phased": "P4-2", "linear": "L9-3", "endo": "V9-4"}[exam.probe.kind]
    return [
        "SYNTHETIC",
        f"{label} {exam.probe.depth / 10:.1f}cm",
        f"GA {age}",
        f"Gn {exam.settings.gain:+.0f}",
        f"DR {exam.settings.dynamic_range:.0f}",
        f"FR {int(2200 / exam.probe.depth)}Hz",
    ]


def _paint_a(draw: ImageDraw.ImageDraw, screen: Screen, exam: Exam, lines: list[str]) -> None:
    """Grey screen: bar at the left, ruler at the left of the window, text at the right."""
    _grey_bar(draw, Box(8, 56, 20, 216))
    _ruler(draw, screen.window.x0 - 8, screen.window, exam.pitch, 150, left=True)
    draw.ellipse((10, 8, 28, 26), outline=235, width=2)
    draw.text((13, 9), "P", fill=235, font=_font(13))
    draw.text((40, 8), "PHANTOM A100  SYNTHETIC IMAGE", fill=230, font=_font(13))
    draw.text((404, 10), "Test, Phantom  ID SYN-0000", fill=200, font=_font(11))
    for row, line in enumerate(lines):
        draw.text((574, 44 + 14 * row), line, fill=180, font=_font(10))
    draw.text((44, 460), "Synthetic image - no patient - not for diagnosis", fill=150, font=_font(11))


def _paint_b(draw: ImageDraw.ImageDraw, screen: Screen, exam: Exam, lines: list[str]) -> None:
    """Colour screen: header bar with an orange logo, text at the left, bar and ruler at the right."""
    draw.rectangle((0, 0, screen.width, 34), fill=(38, 44, 56))
    draw.polygon([(12, 27), (24, 7), (36, 27)], fill=(230, 130, 30))
    draw.text((46, 8), "B200  SYNTHETIC", fill=(240, 240, 240), font=_font(16))
    draw.text((300, 10), "DOE^PHANTOM   SYN-0000   01.01.1900", fill=(220, 220, 160), font=_font(13))
    for row, line in enumerate(lines):
        draw.text((10, 70 + 18 * row), line, fill=(120, 200, 230), font=_font(13))
    _grey_bar(draw, Box(776, 60, 790, 260))
    _ruler(draw, screen.window.x1 + 10, screen.window, exam.pitch, (200, 200, 90), left=False)
    text = "SYNTHETIC IMAGE / NO PATIENT / NOT FOR DIAGNOSIS"
    draw.text((96, 572), text, fill=(230, 130, 30), font=_font(14))


def _grey_bar(draw: ImageDraw.ImageDraw, bar: Box) -> None:
    for y in range(bar.y0, bar.y1):
        level = round(255 * (bar.y1 - 1 - y) / (bar.height - 1))
        draw.line((bar.x0, y, bar.x1, y), fill=level if draw.mode == "L" else (level, level, level))


def _ruler(draw: ImageDraw.ImageDraw, x: int, window: Box, pitch: float, ink: int | Colour, *, left: bool) -> None:
    """Ticks each centimetre of depth, longer each five."""
    for tick in range(int(window.height * pitch / 10) + 1):
        y = window.y0 + tick * 10 / pitch
        reach = (6 if tick % 5 == 0 else 3) * (-1 if left else 1)
        draw.line((x, y, x + reach, y), fill=ink)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _bounds(mask: NDArray[np.bool_]) -> Box:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
