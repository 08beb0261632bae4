"""The three axial planes of a synthetic fetal head; u runs to the front, v away from the probe, in mm at 22 weeks."""

from __future__ import annotations

import numpy as np

from app.images.phantom_canvas import Canvas, Grid, Point, band, box, curve, ellipse, stroke
from app.images.phantom_patient import Patient

LENGTH, WIDTH = 36.0, 28.0


def trans_thalamic(canvas: Canvas, u: Grid, v: Grid, patient: Patient, rng: np.random.Generator) -> list[str]:
    """Thalami on both sides of the third ventricle, the cavum in front, the insula on the far side."""
    _skull(canvas, u, v, patient, rng)
    _midline(canvas, u, v, [(-33, -14), (20, 34)])
    _cavum(canvas, u, v, 15.0)
    for side in (-1, 1):
        thalamus = ellipse(u, v, (-3.0, 6.6 * side), (10.0, 6.0), tilt=0.35 * side)
        canvas.fill(thalamus, -43.0 + patient.brain)
        canvas.wall(thalamus, 0.16, width=0.8, floor=0.5)
    canvas.fluid(box(u, v, (-2.0, 0.0), (8.0, 0.7)))
    for side in (-1, 1):
        canvas.glow(stroke(u, v, [(-10, 1.2 * side), (6, 1.2 * side)], 0.3), 0.22)
    _insula(canvas, u, v)
    _hippocampus(canvas, u, v)
    return ["cavum septi pellucidi", "falx midline", "thalami", "third ventricle"]


def trans_ventricular(canvas: Canvas, u: Grid, v: Grid, patient: Patient, rng: np.random.Generator) -> list[str]:
    """The lateral ventricles with their plexus, frontal horns and cavum; wide in ventriculomegaly."""
    wide = patient.diagnosis == "ventriculomegaly"
    radius = rng.uniform(7.6, 9.6) if wide else rng.uniform(2.9, 3.8)
    bone = _skull(canvas, u, v, patient, rng)
    _midline(canvas, u, v, [(-33, 10), (21, 34)])
    _cavum(canvas, u, v, 16.0)
    for side, strength in ((1, 1.0), (-1, 0.45)):
        _ventricle(canvas, u, v * side, bone, radius, strength, rng)
        horn = stroke(u, v * side, curve([(12, 5), (19, 5), (24, 9 + radius / 3)]), 1.0, 1.0 + radius / 4)
        canvas.fluid(horn)
        canvas.wall(horn, 0.3 * strength)
    found = ["cavum septi pellucidi", "falx midline", "lateral ventricles", "choroid plexus"]
    return [*found, "dangling choroid"] if wide else found


def trans_cerebellar(canvas: Canvas, u: Grid, v: Grid, patient: Patient, rng: np.random.Generator) -> list[str]:
    """The cerebellum's dumb-bell before the cisterna magna, peduncles, cavum; the nuchal skin behind."""
    thick = patient.diagnosis == "thick nuchal fold"
    _nuchal_skin(canvas, u, v, rng.uniform(8.0, 11.0) if thick else rng.uniform(2.6, 4.4))
    _skull(canvas, u, v, patient, rng)
    _midline(canvas, u, v, [(2, 8), (21, 34)])
    _cavum(canvas, u, v, 15.0)
    canvas.fluid(ellipse(u, v, (-28.5, 0), (5.5, 13.0)))
    canvas.fill(ellipse(u, v, (-8.5, 0), (8.0, 6.5)), -43.0 + patient.brain)
    canvas.wall(ellipse(u, v, (-8.5, 0), (8.0, 6.5)), 0.14, floor=0.5)
    _cerebellum(canvas, u, v, rng.uniform(0.92, 1.08))
    for side in (-1, 1):
        canvas.fill(ellipse(u, v, (3.5, 5.5 * side), (6.0, 4.5)), -42.0 + patient.brain)
    found = ["cavum septi pellucidi", "cerebellum", "cisterna magna", "vermis"]
    return [*found, "nuchal fold"] if thick or rng.random() < 0.4 else found


def _skull(canvas: Canvas, u: Grid, v: Grid, patient: Patient, rng: np.random.Generator) -> Grid:
    """Scalp, calvarium and the brain in it, hazy in the near half; gives the signed distance into the bone."""
    long, wide = LENGTH, WIDTH * patient.roundness
    scalp = ellipse(u, v, (0, 0), (long + 2.8, wide + 2.6))
    canvas.fill(scalp, -31.0)
    canvas.wall(scalp, 0.16, floor=0.3)
    bone = ellipse(u, v, (0, 0), (long, wide))
    canvas.fill(bone, -38.0 + patient.brain, loss=0.35)
    canvas.tint(np.minimum(bone - 1.0, -v - 6.0), 4.0, soft=12.0)
    _gyri(canvas, u, v, patient, rng)
    canvas.wall(bone, 1.9, width=0.8, floor=rng.uniform(0.03, 0.1))
    canvas.absorb(band(bone, 1.1), 11.0)
    return bone


def _gyri(canvas: Canvas, u: Grid, v: Grid, patient: Patient, rng: np.random.Generator) -> None:
    """Short bright sulci near the bone, the more the older the fetus is."""
    count = int(rng.integers(5, 9) + max(0.0, patient.weeks - 24) * 1.2)
    for turn, out in zip(rng.uniform(0, 2 * np.pi, count), rng.uniform(0.66, 0.88, count), strict=True):
        span = rng.uniform(0.07, 0.2)
        arc = [
            (out * LENGTH * np.cos(turn + s), out * WIDTH * patient.roundness * np.sin(turn + s))
            for s in (-span, 0.0, span)
        ]
        canvas.glow(stroke(u, v, arc, 0.4, 0.2), rng.uniform(0.04, 0.16))


def _midline(canvas: Canvas, u: Grid, v: Grid, spans: list[Point]) -> None:
    for start, stop in spans:
        middle = ((start + stop) / 2, 0.25)
        canvas.glow(stroke(u, v, [(start, 0.0), middle, (stop, 0.0)], 0.45), 0.5)


def _cavum(canvas: Canvas, u: Grid, v: Grid, at: float) -> None:
    """The box of the cavum septi pellucidi: fluid between two short parallel lines."""
    canvas.fluid(box(u, v, (at, 0), (4.4, 2.0)))
    for side in (-1, 1):
        canvas.glow(stroke(u, v, [(at - 4.6, 2.4 * side), (at + 4.6, 2.4 * side)], 0.4), 0.45)


def _insula(canvas: Canvas, u: Grid, v: Grid) -> None:
    canvas.glow(stroke(u, v, curve([(-7, 17.0), (2, 20.5), (11, 16.5)]), 0.6, 0.4), 0.34)
    canvas.tint(ellipse(u, v, (2, 21.0), (9, 2.6)), -6.0)


def _hippocampus(canvas: Canvas, u: Grid, v: Grid) -> None:
    for side in (-1, 1):
        gyrus = curve([(-13, 4.0 * side), (-20, 6.0 * side), (-19, 12.0 * side)])
        canvas.glow(stroke(u, v, gyrus, 0.5, 0.3), 0.2)


def _ventricle(
    canvas: Canvas, u: Grid, v: Grid, bone: Grid, radius: float, strength: float, rng: np.random.Generator
) -> None:
    """One lateral ventricle from the atrium forward, bright-walled, with the plexus lying in it."""
    outer = 8.5 + radius * 0.75
    body = stroke(u, v, curve([(-24, outer + 2.5), (-14, outer - 1.0), (6, 6.5)]), radius, radius * 0.5)
    body = np.minimum(body, bone - 2.2)
    canvas.fluid(body)
    canvas.wall(body, 0.5 * strength, width=0.7, floor=0.3)
    sunk = outer + (radius - 3.2) * 0.75
    size = min(radius * 0.8, 3.4) * rng.uniform(0.85, 1.0)
    plexus = stroke(u, v, curve([(-17, sunk + 0.6), (-9, sunk - 0.6), (1, 8.0)]), size, size * 0.45)
    canvas.fill(plexus, -20.0 - 8.0 * (1.0 - strength))
    canvas.glow(plexus - 0.6, 0.12 * strength)


def _cerebellum(canvas: Canvas, u: Grid, v: Grid, size: float) -> None:
    """Two round lobes with faint folia, joined by the brighter vermis."""
    for side in (-1, 1):
        lobe = ellipse(u, v, (-20.5, 8.0 * size * side), (7.2 * size, 8.0 * size))
        canvas.fill(lobe, -38.0)
        folia = np.maximum(0.0, np.sin(2.2 * (u + 0.25 * v * side))) * np.clip(lobe / 2.0, 0.0, 1.0)
        canvas.echo += np.float32(5.0) * folia
        canvas.wall(lobe, 0.42, width=0.8, floor=0.55)
    vermis = ellipse(u, v, (-21.0, 0), (5.0 * size, 3.2 * size))
    canvas.fill(vermis, -23.0)
    canvas.glow(vermis - 1.0, 0.12)


def _nuchal_skin(canvas: Canvas, u: Grid, v: Grid, thickness: float) -> None:
    """Skin behind the occiput, its outer line that far (mm) from the bone."""
    skin = ellipse(u, v, (-LENGTH + 10.0 - thickness / 2, 0), (10.0 + thickness / 2, 17.0))
    canvas.fill(skin, -37.0)
    canvas.wall(skin, 0.6, floor=0.5)
