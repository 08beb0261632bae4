"""The canvas of a synthetic scan: what each point of the scan lines reflects and absorbs, and shapes to paint it."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float32]
"""One number for each (sample in depth, scan line)."""

Point = tuple[float, float]

FLUID_DB = -75.0
FLUID_LOSS = -1.3


class Canvas:
    """Echo (dB), absorption (dB/cm, beyond what the scanner compensates) and mirror (amplitude) of all points.

    ``x`` and ``z`` are the points' places in mm (lateral, depth), gently bent so that no shape is perfect;
    ``depth`` is the way along the scan line in mm.
    """

    def __init__(self, x: Grid, z: Grid, depth: Grid, rng: np.random.Generator) -> None:
        self.x, self.z = _bend(x, z, rng)
        self.depth = depth
        self.step = float(depth[1, 0] - depth[0, 0])
        self.echo: Grid = -31.0 + 3.0 * smooth_noise(x.shape, (8, 50), rng) + 3.0 * smooth_noise(x.shape, (36, 40), rng)
        self.loss: Grid = np.zeros(x.shape, np.float32)
        self.mirror: Grid = np.zeros(x.shape, np.float32)

    def fill(self, inside: Grid, echo: float, loss: float = 0.0, soft: float = 0.6) -> None:
        """Make a shape's inside of one tissue; ``inside`` is its signed distance in mm, positive inside."""
        part = np.clip(inside / soft + 0.5, 0.0, 1.0)
        self.echo += part * (echo - self.echo)
        self.loss += part * (loss - self.loss)
        self.mirror *= 1.0 - part

    def fluid(self, inside: Grid, soft: float = 0.6) -> None:
        """Make a shape's inside free of echoes: dark, and brighter behind."""
        self.fill(inside, FLUID_DB, FLUID_LOSS, soft)

    def tint(self, inside: Grid, change: float, soft: float = 3.0) -> None:
        """Make a shape's inside brighter or darker by some dB with a soft edge."""
        self.echo += np.clip(inside / soft + 0.5, 0.0, 1.0) * np.float32(change)

    def wall(self, inside: Grid, strength: float, width: float = 0.7, floor: float = 0.15) -> None:
        """Draw a shape's edge as a reflector, weaker (down to ``floor``) where the beam runs along it."""
        facing = np.abs(np.gradient(inside, self.step, axis=0))
        shine = floor + (1.0 - floor) * np.clip(facing, 0.0, 1.0) ** 2
        band = np.exp(-((inside / width) ** 2))
        self.mirror = np.maximum(self.mirror, np.float32(strength) * band * shine)

    def glow(self, inside: Grid, strength: float, soft: float = 0.8) -> None:
        """Fill a shape as a reflector that shines alike from every side."""
        part = np.clip(inside / soft + 0.5, 0.0, 1.0)
        self.mirror = np.maximum(self.mirror, np.float32(strength) * part)

    def absorb(self, inside: Grid, loss: float, soft: float = 0.6) -> None:
        """Let a shape's inside swallow the beam (dB/cm): a shadow lies behind it."""
        self.loss += np.clip(inside / soft + 0.5, 0.0, 1.0) * np.float32(loss)

    def bone(self, inside: Grid, strength: float = 2.0, loss: float = 45.0) -> None:
        """Fill a shape as bone: bright, with a shadow."""
        self.fill(inside, -16.0)
        self.glow(inside, strength)
        self.absorb(inside, loss)


class Place:
    """Where a body lies: centre in mm, turned by an angle (radians), scaled, perhaps mirrored."""

    def __init__(self, centre: Point, angle: float, scale: float, flip: bool) -> None:
        self.centre = centre
        self.angle = angle
        self.scale = scale
        self.flip = flip

    def axes(self, canvas: Canvas) -> tuple[Grid, Grid]:
        """The body's own coordinates (u, v), in mm of a body of scale 1, for all points of the canvas."""
        x, z = canvas.x - np.float32(self.centre[0]), canvas.z - np.float32(self.centre[1])
        u, v = turned(x, z, self.angle, self.scale)
        return (-u if self.flip else u), v


def turned(x: Grid, z: Grid, angle: float, scale: float = 1.0) -> tuple[Grid, Grid]:
    """Coordinates along axes that are turned by an angle (radians) and scaled."""
    cos, sin = np.float32(math.cos(angle) / scale), np.float32(math.sin(angle) / scale)
    return cos * x + sin * z, cos * z - sin * x


def ellipse(u: Grid, v: Grid, centre: Point, radii: Point, tilt: float = 0.0) -> Grid:
    """Signed distance (first order) to an ellipse's edge, positive inside; ``tilt`` in radians."""
    a, b = np.float32(radii[0]), np.float32(radii[1])
    p, q = turned(u - np.float32(centre[0]), v - np.float32(centre[1]), tilt)
    s, t = p / a, q / b
    reach = np.sqrt(s * s + t * t) + np.float32(1e-4)
    slope = np.sqrt((s / a) ** 2 + (t / b) ** 2) + np.float32(1e-6)
    return np.asarray((1.0 - reach) * reach / slope, np.float32)


def stroke(u: Grid, v: Grid, points: list[Point], radius: float, end: float | None = None) -> Grid:
    """Signed distance to a thick line through some points, its radius running from ``radius`` to ``end``."""
    last = radius if end is None else end
    radii = np.linspace(radius, last, len(points))
    parts = [
        _capsule(u, v, p, q, float(r0), float(r1))
        for p, q, r0, r1 in zip(points, points[1:], radii, radii[1:], strict=False)
    ]
    return np.asarray(np.maximum.reduce(parts), np.float32)


def box(u: Grid, v: Grid, centre: Point, half: Point) -> Grid:
    """Signed distance to a rectangle's edge, positive inside."""
    return np.minimum(band(u - centre[0], half[0]), band(v - centre[1], half[1]))


def band(inside: Grid, half: float) -> Grid:
    """Signed distance into the band of that half width (mm) around a shape's edge."""
    return np.asarray(np.float32(half) - np.abs(inside), np.float32)


def curve(points: list[Point], count: int = 9) -> list[Point]:
    """A smooth chain of points: the quadratic Bezier curve of three points."""
    a, b, c = (np.array(p) for p in points)
    t = np.linspace(0.0, 1.0, count)[:, None]
    chain = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
    return [(float(u), float(v)) for u, v in chain]


def smooth_noise(shape: tuple[int, int], grain: Point, rng: np.random.Generator) -> Grid:
    """Random values of mean 0 and deviation 1, smooth over ``grain`` (rows, columns)."""
    rows, columns = (_weights(n, g) for n, g in zip(shape, grain, strict=True))
    coarse = rng.standard_normal((rows.shape[1], columns.shape[1]), dtype=np.float32)
    fine = rows @ coarse @ columns.T
    return np.asarray((fine - fine.mean()) / (fine.std() + 1e-6), np.float32)


def _bend(x: Grid, z: Grid, rng: np.random.Generator) -> tuple[Grid, Grid]:
    bent_x, bent_z = x.copy(), z.copy()
    for wavelength, size in ((90.0, 2.2), (50.0, 0.8)):
        turn = rng.uniform(0, 2 * np.pi, 2)
        wave = 2 * np.pi / (wavelength * rng.uniform(0.8, 1.25, 2))
        bent_x += np.float32(size) * np.sin(np.float32(wave[0]) * z + np.float32(turn[0]))
        bent_z += np.float32(size) * np.sin(np.float32(wave[1]) * x + np.float32(turn[1]))
    return bent_x, bent_z


@cache
def _weights(count: int, grain: float) -> Grid:
    """Gaussian weights (count, knots) of knots that lie ``grain`` apart."""
    knots = np.arange(-grain, count + 1.5 * grain, grain, dtype=np.float32)
    away = (np.arange(count, dtype=np.float32)[:, None] - knots) / np.float32(0.7 * grain)
    return np.asarray(np.exp(-(away**2)), np.float32)


def _capsule(u: Grid, v: Grid, p: Point, q: Point, r0: float, r1: float) -> Grid:
    du, dv = float(q[0] - p[0]), float(q[1] - p[1])
    s, t = u - float(p[0]), v - float(p[1])
    along = np.clip((s * du + t * dv) / (du * du + dv * dv + 1e-9), 0.0, 1.0)
    s, t = s - along * du, t - along * dv
    return np.asarray(r0 + along * (r1 - r0) - np.sqrt(s * s + t * t), np.float32)
