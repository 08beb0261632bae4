"""What lies around a synthetic fetus, and the two views of the womb: cervix and early sac; in mm."""

from __future__ import annotations

import numpy as np

from app.images.phantom_canvas import Canvas, Grid, Place, Point, band, curve, ellipse, smooth_noise, stroke
from app.images.phantom_patient import Patient


def surround(canvas: Canvas, place: Place, reach: float, patient: Patient, rng: np.random.Generator) -> None:
    """The mother's belly wall, the womb's wall, placenta and the waters around a fetus of that reach (mm)."""
    _belly_wall(canvas, patient, rng)
    u, v = Place(place.centre, rng.normal(0, 0.3), 1.0, False).axes(canvas)
    margin = 1.0 + patient.fluid * 9.0
    shift = (rng.normal(0, 3.0 + 6.0 * patient.fluid), margin * rng.uniform(-0.2, 0.6))
    cavity = ellipse(u, v, shift, (reach * rng.uniform(1.15, 1.6) + margin, reach + margin))
    cavity += np.float32(1.5) * smooth_noise(canvas.x.shape, (60, 40), rng)
    canvas.fill(cavity + 11.0, -27.0 if patient.anterior_placenta else -31.0)
    canvas.wall(cavity + 11.0, 0.25, width=1.0, floor=0.1)
    canvas.fluid(np.minimum(cavity, canvas.depth - patient.fat * 0.75 - 5.0), soft=1.2)
    canvas.wall(cavity, 0.3, width=0.9, floor=0.05)
    _loose_parts(canvas, u, v, reach, rng)


def cervix(canvas: Canvas, u: Grid, v: Grid, patient: Patient, rng: np.random.Generator) -> list[str]:
    """Through the vagina: canal from the inner os (at -u) to the outer, bladder, head; or a placenta on the os."""
    previa = patient.diagnosis == "placenta praevia"
    inner = (-14.0 + rng.uniform(-3, 3), 30.0 + rng.uniform(-2, 3))
    outer = (inner[0] + rng.uniform(26, 41), 26.0 + rng.uniform(-3, 4))
    canvas.echo += 1.0
    _vagina(canvas, rng)
    _lower_womb(canvas, u, v, inner, 14.0 if previa else rng.uniform(2, 11), rng)
    if previa:
        _praevia(canvas, u, v, inner, rng)
    _rectum(canvas, u, v, rng)
    _neck(canvas, u, v, inner, outer, rng)
    found = ["cervical canal", "internal os"]
    if rng.random() < 0.7:
        _bladder(canvas, u, v, rng)
        found.append("bladder")
    return [*found, "placenta over the os" if previa else "fetal head"]


def early_sac(canvas: Canvas, u: Grid, v: Grid, patient: Patient, rng: np.random.Generator) -> list[str]:
    """The sac of 9 to 13 weeks with the embryo in profile, yolk sac and amnion; u from crown to rump."""
    length = crown_rump(patient)
    _sac(canvas, u, v, length, rng)
    found = ["gestational sac", "embryo", "crown-rump"]
    if patient.early_weeks < 11.5:
        room = ellipse(u, v, (rng.normal(0, 2), -1.0), (length * 0.58 + 5.0, length * 0.3 + 6.0), rng.normal(0, 0.1))
        canvas.wall(room, 0.07, width=0.3, floor=0.0)
        found.append("amnion")
    _embryo(canvas, u, v, length / 50.0, rng)
    if patient.early_weeks < 12 or rng.random() < 0.4:
        at = (length * rng.uniform(-0.1, 0.55), -length * 0.3 - rng.uniform(4.0, 6.0))
        yolk = ellipse(u, v, at, (2.7, 2.4))
        canvas.fluid(yolk)
        canvas.wall(yolk, 0.4, width=0.5, floor=0.5)
        found.append("yolk sac")
    return found


def crown_rump(patient: Patient) -> float:
    """The embryo's length in mm by its age in weeks: nearly straight between 9 and 13.5 (23 to 76 mm)."""
    return 11.8 * patient.early_weeks - 83.0


def _belly_wall(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Skin, fat and muscle in layers that follow the probe."""
    fat = np.float32(patient.fat)
    depth = canvas.depth + np.float32(0.8) * smooth_noise(canvas.x.shape, (70, 50), rng)
    canvas.fill(fat - depth, -27.0, soft=1.0)
    streaks = smooth_noise(canvas.x.shape, (5, 60), rng) * np.clip((fat - depth) / 2.0, 0.0, 1.0)
    canvas.echo += np.float32(4.0) * streaks
    for part, strength in ((0.12, 0.3), (0.42, 0.22), (0.68, 0.3), (1.0, 0.25)):
        canvas.wall(np.float32(part) * fat - depth, strength * rng.uniform(0.5, 1.2), width=0.7, floor=0.2)
    canvas.fill(2.2 - canvas.depth, -16.0)


def _loose_parts(canvas: Canvas, u: Grid, v: Grid, reach: float, rng: np.random.Generator) -> None:
    """Limbs cut across and loops of cord in the waters beside the fetus."""
    for _ in range(int(rng.integers(0, 4))):
        turn = rng.choice([0.0, np.pi]) + rng.normal(0, 0.5)
        out = reach * rng.uniform(1.2, 1.5)
        at = (out * np.cos(turn), out * np.sin(turn))
        size = rng.uniform(3.0, 7.0)
        limb = ellipse(u, v, at, (size * rng.uniform(1.0, 1.6), size), tilt=rng.uniform(0, 3))
        canvas.fill(limb, -29.0)
        canvas.wall(limb, 0.4, floor=0.3)
        if rng.random() < 0.6:
            canvas.bone(ellipse(u, v, at, (size * 0.35, size * 0.25)), 1.2)
        else:
            canvas.fluid(ellipse(u, v, at, (size * 0.4, size * 0.35)))


def _vagina(canvas: Canvas, rng: np.random.Generator) -> None:
    streaks = smooth_noise(canvas.x.shape, (4, 60), rng) * np.clip((12.0 - canvas.depth) / 4.0, 0.0, 1.0)
    canvas.echo += np.float32(4.5) * streaks
    canvas.wall(rng.uniform(5, 8) - canvas.depth, 0.3, width=0.8, floor=0.3)
    canvas.fill(1.8 - canvas.depth, -16.0)


def _lower_womb(canvas: Canvas, u: Grid, v: Grid, inner: Point, gap: float, rng: np.random.Generator) -> None:
    """The womb's walls beyond the inner os, dark waters, and the skull's near arc with its shadow."""
    cavity = ellipse(u, v, (inner[0] - 35.0, inner[1] + 9.0), (37.0, 23.0), tilt=-0.22)
    canvas.fill(cavity + 6.0, -34.0)
    canvas.wall(cavity + 6.0, 0.12, floor=0.1)
    canvas.fluid(cavity, soft=1.2)
    canvas.wall(cavity, 0.3, floor=0.2)
    radius = rng.uniform(25, 31)
    at = (inner[0] - radius - gap, inner[1] + 12.0 + rng.uniform(-3, 6))
    head = ellipse(u, v, at, (radius, radius * rng.uniform(0.75, 0.9)))
    canvas.fill(head, -38.0)
    canvas.wall(head, 1.5, width=0.8, floor=0.08)
    canvas.absorb(band(head, 1.1), 14.0)


def _praevia(canvas: Canvas, u: Grid, v: Grid, inner: Point, rng: np.random.Generator) -> None:
    """A thick grainy placenta right over the inner os."""
    chain = [(inner[0] - 20.0, inner[1] - 15.0), (inner[0] - 2.0, inner[1] + 2.0), (inner[0] - 22.0, inner[1] + 32.0)]
    placenta = stroke(u, v, curve(chain), 7.0, rng.uniform(9, 12))
    placenta += np.float32(1.2) * smooth_noise(u.shape, (40, 25), rng)
    canvas.fill(placenta, -20.0)
    canvas.wall(placenta, 0.4, floor=0.35)
    for _ in range(5):
        lake = (inner[0] - rng.uniform(4, 18), inner[1] + rng.uniform(-6, 22))
        canvas.tint(ellipse(u, v, lake, (2.2, 1.5)), -14.0, soft=1.5)


def _rectum(canvas: Canvas, u: Grid, v: Grid, rng: np.random.Generator) -> None:
    """Gas in the bowel behind the cervix: a bright broken line with a dirty shadow."""
    low = rng.uniform(42, 48)
    for start in np.arange(-2.0, 40.0, 9.0):
        piece = [(start, low + rng.uniform(-1.5, 1.5)), (start + rng.uniform(4, 9), low - 1.5 + rng.uniform(-1.5, 1.5))]
        canvas.bone(stroke(u, v, piece, 0.7), rng.uniform(0.2, 0.9), loss=rng.uniform(20, 60))


def _neck(canvas: Canvas, u: Grid, v: Grid, inner: Point, outer: Point, rng: np.random.Generator) -> None:
    """The cervix: stroma, darker glands around the canal, the canal itself a thin bright line."""
    thick = rng.uniform(10.5, 13.5)
    neck = stroke(u, v, [(inner[0] + 5.0, inner[1]), outer], thick, thick * 0.9)
    canvas.fill(neck, -29.0)
    canvas.wall(neck, 0.2, width=0.8, floor=0.1)
    middle = ((outer[0] + inner[0]) / 2, (outer[1] + inner[1]) / 2 + rng.uniform(-4, 5))
    canal = curve([inner, middle, outer])
    glands = stroke(u, v, canal, rng.uniform(3.0, 4.5), 3.0)
    canvas.fill(glands, -37.0, soft=2.0)
    canvas.glow(stroke(u, v, canal, 0.35), 0.3)
    if rng.random() < 0.3:
        cyst = ellipse(u, v, (middle[0] + rng.uniform(-8, 8), middle[1] + 5.0), (1.8, 1.5))
        canvas.fluid(cyst)


def _bladder(canvas: Canvas, u: Grid, v: Grid, rng: np.random.Generator) -> None:
    size = rng.uniform(0.6, 1.2)
    bladder = ellipse(u, v, (-27.0 - rng.uniform(0, 6), 13.5), (12.0 * size, 5.5 * size), tilt=-0.15)
    canvas.fluid(bladder)
    canvas.wall(bladder, 0.4, floor=0.3)


def _sac(canvas: Canvas, u: Grid, v: Grid, length: float, rng: np.random.Generator) -> None:
    """Muscle of the womb, bright decidua, and the waters in it."""
    middle = (rng.normal(0, 2), -rng.uniform(0.5, 3.0))
    radii = (length * 0.56 + rng.uniform(8, 13), length * 0.30 + rng.uniform(9, 13))
    sac = ellipse(u, v, middle, radii, tilt=rng.normal(0, 0.12))
    sac += np.float32(1.6) * smooth_noise(u.shape, (70, 45), rng)
    canvas.fill(sac + 18.0, -34.0, soft=3.0)
    canvas.wall(sac + 18.0, 0.15, floor=0.1)
    canvas.fill(sac + rng.uniform(4, 8), -25.0, soft=3.0)
    canvas.fluid(sac, soft=1.0)
    canvas.wall(sac, 0.3, width=0.8, floor=0.15)


def _embryo(canvas: Canvas, u: Grid, v: Grid, size: float, rng: np.random.Generator) -> None:
    """Head, trunk and limb buds in profile (50 mm from crown to rump at size 1), belly up."""
    p, q = u / np.float32(size), v / np.float32(size)
    _limbs(canvas, p, q, rng)
    trunk = stroke(p, q, curve([(-5.0, 1.0), (8.0, 3.0), (19.0, -0.5)]), 6.4, 5.4)
    chin = ellipse(p, q, (-6.5, -6.5), (4.0, 3.0))
    skin = np.maximum.reduce([trunk, ellipse(p, q, (-14.5, -1.5), (10.4, 9.2)), chin])
    nape = np.minimum(skin + rng.uniform(1.2, 2.0), q - 1.0)
    canvas.wall(nape, 0.12, width=0.3)
    canvas.fill(skin, -26.0)
    canvas.wall(skin, 0.26, width=0.5, floor=0.15)
    _embryo_head(canvas, p, q)
    canvas.glow(stroke(p, q, curve([(-4.0, 4.6), (8.0, 6.8), (20.0, 2.0)]), 0.5), 0.35)
    canvas.tint(ellipse(p, q, (1.5, -1.5), (2.6, 2.0)), -7.0, soft=1.5)
    canvas.fluid(ellipse(p, q, (7.0, 0.8), (1.7, 1.1)))


def _embryo_head(canvas: Canvas, p: Grid, q: Grid) -> None:
    """Thin skull, dark hindbrain, bright plexus, midline and nasal bone."""
    canvas.fill(ellipse(p, q, (-14.8, -1.6), (7.8, 6.8)), -36.0)
    canvas.wall(ellipse(p, q, (-14.8, -1.6), (8.4, 7.3)), 0.5, width=0.45, floor=0.08)
    canvas.fill(ellipse(p, q, (-16.0, -2.2), (4.2, 2.2), tilt=0.3), -25.0)
    canvas.fluid(ellipse(p, q, (-10.5, 2.0), (2.0, 1.3)))
    canvas.glow(stroke(p, q, [(-8.6, -8.6), (-6.4, -9.0)], 0.4), 0.45)


def _limbs(canvas: Canvas, p: Grid, q: Grid, rng: np.random.Generator) -> None:
    sway = rng.uniform(-2.5, 2.5, 2)
    arm = [(-1.0, -4.0), (-3.0 + sway[0], -9.0), (-7.0 + sway[0], -11.0)]
    leg = [(15.0, -3.0), (11.0 + sway[1], -9.5), (16.0 + sway[1], -12.5)]
    for chain, radius in ((arm, 1.7), (leg, 2.2)):
        limb = stroke(p, q, chain, radius, radius * 0.7)
        canvas.fill(limb, -27.0)
        canvas.wall(limb, 0.2, width=0.4)
        canvas.glow(stroke(p, q, chain[:2], 0.35), 0.35)
