"""Synthetic fetal abdomen, thorax, femur and spine; in mm at 22 weeks, v away from the probe."""

from __future__ import annotations

import numpy as np

from app.images.phantom_canvas import Canvas, Grid, band, curve, ellipse, stroke, turned
from app.images.phantom_patient import Patient


def abdomen(canvas: Canvas, u: Grid, v: Grid, patient: Patient, rng: np.random.Generator) -> list[str]:
    """The round abdomen, spine at -u: liver, stomach and umbilical vein, or the kidneys' level."""
    kidneys = patient.diagnosis == "hydronephrosis" or rng.random() < 0.2
    sac = patient.diagnosis == "omphalocele"
    if sac:
        _omphalocele(canvas, u, v, rng)
    wall = ellipse(u, v, (0, 0), (28.0, 26.0 * patient.roundness))
    _trunk_wall(canvas, wall, -29.0 + patient.organs)
    _spine_ring(canvas, u, v, -20.5)
    _ribs(canvas, u, v, 25.0, 23.2 * patient.roundness, rng, count=4)
    _vessels(canvas, u, v)
    found = [
        "spine",
        *(_kidneys(canvas, u, v, patient, rng) if kidneys else _upper_abdomen(canvas, u, v, rng)),
    ]
    return [*found, "herniated sac"] if sac else found


def thorax(canvas: Canvas, u: Grid, v: Grid, patient: Patient, rng: np.random.Generator) -> list[str]:
    """The four-chamber view: heart in the left front of the lungs, ribs around, spine at -u."""
    wall = ellipse(u, v, (0, 0), (25.0, 24.0 * patient.roundness))
    _trunk_wall(canvas, wall, -27.0 + patient.organs)
    _spine_ring(canvas, u, v, -18.5)
    _ribs(canvas, u, v, 22.5, 21.5 * patient.roundness, rng, count=8)
    aorta = ellipse(u, v, (-11.5, 2.5), (2.1, 2.1))
    canvas.fluid(aorta)
    canvas.wall(aorta, 0.25, floor=0.5)
    _heart(canvas, u - 3.0, v - 3.0, rng)
    return ["four chambers", "ribs", "spine", "descending aorta", "lungs"]


def femur(canvas: Canvas, u: Grid, v: Grid, patient: Patient, rng: np.random.Generator) -> list[str]:
    """The ossified shaft along u with its shadow, cartilage at both ends, the thigh around it."""
    short = patient.diagnosis == "short femur"
    half = rng.uniform(10.0, 12.5) if short else rng.uniform(17.5, 20.5)
    bow = rng.uniform(2.0, 3.4) if short else rng.uniform(0.6, 1.6)
    _thigh(canvas, u, v, half, rng)
    for end in (-1, 1):
        knob = ellipse(u, v, ((half + 4.2) * end, 0.8), (5.2, 4.6))
        canvas.fill(knob, -42.0)
        canvas.wall(knob, 0.22, floor=0.4)
    axis = curve([(-half, bow / 2), (0, -bow), (half, bow / 2)])
    shaft = stroke(u, v, axis, 1.35)
    canvas.bone(shaft, 2.2, loss=70.0)
    for end in (-1, 1):
        canvas.bone(ellipse(u, v, (half * end, bow / 2), (1.8, 2.2)), 1.8, loss=30.0)
    return ["femur shaft", *(["bowed shaft"] if short else ["epiphyses"])]


def spine_sagittal(canvas: Canvas, u: Grid, v: Grid, patient: Patient, rng: np.random.Generator) -> list[str]:
    """Two curved rows of ossification centres that meet at the sacrum, the canal between, skin above."""
    bow = rng.uniform(3.0, 9.0)
    rise = np.float32(bow) * (u / 42.0) ** 2
    back = v - rise
    taper = np.clip((44.0 - u) / 26.0, 0.25, 1.0)
    _back(canvas, u, back)
    canal = np.minimum(2.6 * taper - np.abs(back), 40.0 - np.abs(u))
    canvas.fill(canal, -46.0)
    canvas.glow(band(back, 0.35), 0.05)
    _row(canvas, u, back + 4.6 * taper, rng, long=1.15, strength=1.3)
    _row(canvas, u, back - 5.2 * taper, rng, long=1.65, strength=2.0)
    return ["vertebral bodies", "spinal canal", "skin line"]


def spine_coronal(canvas: Canvas, u: Grid, v: Grid, patient: Patient, rng: np.random.Generator) -> list[str]:
    """Two parallel rows of ossification centres, narrowing to the sacrum, with ribs to both sides."""
    back = v - np.float32(rng.uniform(-3, 3)) * (u / 42.0) ** 2
    taper = np.clip((46.0 - u) / 34.0, 0.3, 1.0)
    _back(canvas, u, back, skin=15.0)
    for side in (-1, 1):
        _row(canvas, u, back - 4.3 * side * taper, rng, long=1.25, strength=1.6)
    canvas.glow(np.minimum(band(back, 0.5), band(u, 38.0)), 0.1)
    for at in np.arange(-36.0, -4.0, 4.6):
        for side in (-1, 1):
            rib = stroke(u, back * side, [(at, 7.0), (at - 2.0, 13.0)], 0.7)
            canvas.bone(rib, 0.8, loss=14.0)
    return ["vertebral arches", "ribs", "spinal canal"]


def _trunk_wall(canvas: Canvas, wall: Grid, echo: float) -> None:
    canvas.fill(wall, -24.0)
    canvas.fill(wall - 2.4, echo, loss=0.1)
    canvas.wall(wall, 0.55, width=0.8, floor=0.25)
    canvas.wall(wall - 2.4, 0.16, width=0.6, floor=0.2)


def _spine_ring(canvas: Canvas, u: Grid, v: Grid, at: float) -> None:
    """A vertebra seen from above: three ossification centres around the dark canal."""
    canvas.fill(ellipse(u, v, (at, 0), (5.2, 5.2)), -36.0)
    canvas.fluid(ellipse(u, v, (at - 0.6, 0), (1.7, 1.7)))
    canvas.bone(ellipse(u, v, (at + 3.4, 0), (1.7, 2.4)), 1.7)
    for side in (-1, 1):
        canvas.bone(stroke(u, v, [(at - 3.6, 1.4 * side), (at - 0.8, 3.8 * side)], 0.9), 1.4)


def _ribs(canvas: Canvas, u: Grid, v: Grid, long: float, wide: float, rng: np.random.Generator, count: int) -> None:
    """Short bright arcs in the trunk's wall with shadows behind."""
    for side in (-1, 1):
        for turn in np.linspace(0.7, 2.3, count // 2) + rng.uniform(-0.12, 0.12, count // 2):
            span = rng.uniform(0.08, 0.26)
            arc = [(-long * np.cos(turn + s), side * wide * np.sin(turn + s)) for s in (-span, 0.0, span)]
            canvas.bone(stroke(u, v, arc, 0.6), rng.uniform(0.25, 0.9), loss=rng.uniform(15, 45))


def _vessels(canvas: Canvas, u: Grid, v: Grid) -> None:
    for place, radius in (((-11.5, 2.2), 1.9), ((-9.0, -4.4), 1.6)):
        vessel = ellipse(u, v, place, (radius, radius))
        canvas.fluid(vessel)
        canvas.wall(vessel, 0.22, floor=0.6)


def _upper_abdomen(canvas: Canvas, u: Grid, v: Grid, rng: np.random.Generator) -> list[str]:
    """Stomach bubble on the left, umbilical vein as a hockey stick into the liver on the right."""
    size = rng.uniform(0.75, 1.25)
    stomach = ellipse(u, v, (-3.0, 13.5), (7.5 * size, 4.8 * size), tilt=rng.uniform(-0.5, 0.5))
    canvas.fluid(stomach)
    canvas.wall(stomach, 0.3, floor=0.3)
    vein = stroke(u, v, curve([(rng.uniform(12, 20), 0.5), (3.0, 1.0), (-2.5, -7.5)]), 1.6, 1.3)
    canvas.fluid(vein)
    canvas.wall(vein, 0.34, width=0.6, floor=0.35)
    if rng.random() < 0.35:
        canvas.fluid(stroke(u, v, [(5, -11), (13, -8)], 1.4, 2.2))
        return ["stomach bubble", "umbilical vein", "gall bladder"]
    return ["stomach bubble", "umbilical vein"]


def _kidneys(canvas: Canvas, u: Grid, v: Grid, patient: Patient, rng: np.random.Generator) -> list[str]:
    """Both kidneys beside the spine; the pelves wide and dark in hydronephrosis."""
    wide = patient.diagnosis == "hydronephrosis"
    for side in (-1, 1):
        pelvis = rng.uniform(4.2, 6.2) if wide else rng.uniform(0.8, 1.5)
        radii = (max(8.2, pelvis + 3.4), max(7.0, pelvis + 2.4))
        kidney = ellipse(u, v, (-10.5, 13.0 * side), radii, tilt=-0.5 * side)
        canvas.fill(kidney, -36.0)
        canvas.wall(kidney, 0.28, floor=0.4)
        hollow = ellipse(u, v, (-9.5, 12.0 * side), (pelvis * 1.15, pelvis), tilt=-0.4 * side)
        canvas.fluid(hollow)
        canvas.wall(hollow, 0.3, floor=0.4)
        if wide:
            _calyces(canvas, u, v, side, pelvis)
    _bowel(canvas, u, v, rng)
    return ["kidneys", *(["dilated renal pelvis"] if wide else [])]


def _calyces(canvas: Canvas, u: Grid, v: Grid, side: int, pelvis: float) -> None:
    for turn in (-0.9, 0.2, 1.3):
        out = pelvis + 1.2
        at = (-9.5 + out * np.cos(turn), side * (12.0 + out * np.sin(turn)))
        canvas.fluid(ellipse(u, v, at, (1.5, 1.5)))


def _bowel(canvas: Canvas, u: Grid, v: Grid, rng: np.random.Generator) -> None:
    for _ in range(7):
        at = (rng.uniform(2, 17), rng.uniform(-13, 13))
        canvas.tint(ellipse(u, v, at, (rng.uniform(2, 4), rng.uniform(1.5, 3))), rng.uniform(-7, 5))


def _omphalocele(canvas: Canvas, u: Grid, v: Grid, rng: np.random.Generator) -> None:
    """A thin-walled sac before the belly with liver or gut in it."""
    size = rng.uniform(9.0, 13.0)
    at = (27.0 + size * 0.55, rng.uniform(-3, 3))
    sac = ellipse(u, v, at, (size, size * 0.95))
    canvas.fluid(sac + 3.5, soft=3.0)
    canvas.fill(ellipse(u, v, (at[0] - 2.0, at[1]), (size * 0.78, size * 0.72)), -27.0)
    canvas.wall(sac, 0.55, width=0.6, floor=0.4)
    canvas.wall(ellipse(u, v, (at[0] - 2.0, at[1]), (size * 0.78, size * 0.72)), 0.2)


def _heart(canvas: Canvas, u: Grid, v: Grid, rng: np.random.Generator) -> None:
    """Two ventricles to the apex, two atria behind, septa and valves as a bright cross."""
    p, q = turned(u, v, 0.75 + rng.normal(0, 0.15), rng.uniform(0.92, 1.1))
    heart = ellipse(p, q, (0, 0), (14.0, 10.0))
    canvas.fill(heart, -34.0)
    canvas.wall(heart, 0.3, floor=0.35)
    for side, long, wide in ((-1, 6.6, 3.2), (1, 7.0, 2.9)):
        ventricle = ellipse(p, q, (4.4, 4.0 * side), (long, wide), tilt=-0.2 * side)
        canvas.fluid(ventricle, soft=1.0)
        atrium = ellipse(p, q, (-7.0, 3.9 * side), (4.4, 3.6))
        canvas.fluid(atrium, soft=1.0)
        canvas.wall(ventricle, 0.14, floor=0.4)
        canvas.glow(stroke(p, q, [(-1.8 + 0.5 * side, 0.6 * side), (-2.6, 6.6 * side)], 0.5), 0.4)
    canvas.glow(stroke(p, q, [(-2.0, 0), (12.0, 0.2)], 0.75, 1.0), 0.42)
    canvas.glow(stroke(p, q, [(-11.5, 0), (-8.0, 0.2)], 0.5), 0.3)
    canvas.glow(stroke(p, q, [(7.2, -1.0), (8.6, -4.8)], 0.8), 0.16)


def _thigh(canvas: Canvas, u: Grid, v: Grid, half: float, rng: np.random.Generator) -> None:
    """Muscle with fibres along the bone, skin as two lines, rounded at the knee."""
    depth = rng.uniform(10.0, 14.0)
    axis = [(-half - 8.0, 0.0), (half + 6.0, 0.6)]
    for off in (0.0, 1.8):
        skin = stroke(u, v, axis, depth + 1.5 - off, depth - 2.5 - off)
        canvas.fill(skin, -27.0)
        canvas.wall(skin, 0.4, floor=0.1)
    muscle = stroke(u, v, axis, depth - 1.2, depth - 5.2)
    canvas.fill(muscle, -35.0)
    fibres = np.sin(1.9 * v + 0.6 * np.sin(u / 9.0)) * np.clip(muscle / 2.0, 0.0, 1.0)
    canvas.echo += np.float32(4.0) * fibres


def _back(canvas: Canvas, u: Grid, back: Grid, skin: float = 12.5) -> None:
    """Soft tissue around a spine, with the skin over it."""
    body = np.minimum(skin + back, 50.0 - np.abs(u))
    canvas.fill(body, -31.0)
    canvas.wall(body, 0.5, floor=0.1)
    canvas.echo += np.float32(3.0) * np.sin(1.4 * back) * np.clip((9.0 - np.abs(back)) / 3.0, 0.0, 1.0)


def _row(canvas: Canvas, u: Grid, v: Grid, rng: np.random.Generator, long: float, strength: float) -> None:
    """A row of ossification centres 4.2 mm apart, each with its shadow."""
    for at in np.arange(-38.0, 40.0, 4.2):
        size = 1.0 - 0.35 * max(0.0, (at - 5.0) / 35.0)
        centre = ellipse(u, v, (at + rng.uniform(-0.3, 0.3), 0), (long * size, 1.2 * size))
        canvas.bone(centre, strength * rng.uniform(0.75, 1.1), loss=26.0)
