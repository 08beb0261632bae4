"""A synthetic ultrasound scanner: from a canvas of echoes to a grey picture of a sector."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from app.domain import Box, Pixels
from app.images.phantom_canvas import Canvas, Grid, smooth_noise

SAMPLES = 416
LINES = 224
BANDS = 26


@dataclass(frozen=True, slots=True)
class Probe:
    """A transducer: curved, with a radius (mm) and half an opening angle (radians), or flat with a width (mm)."""

    kind: str
    radius: float
    half_angle: float
    width: float
    depth: float

    @property
    def top(self) -> float:
        """The smallest depth (mm) in the sector; negative at the corners of a convex probe."""
        return self.radius * (math.cos(self.half_angle) - 1.0)

    def points(self) -> tuple[Grid, Grid, Grid]:
        """Where the samples of all scan lines lie: x, z and way along the line, in mm."""
        way = np.linspace(0.0, self.depth, SAMPLES, dtype=np.float32)[:, None]
        across = np.linspace(-1.0, 1.0, LINES, dtype=np.float32)[None, :]
        depth = np.broadcast_to(way, (SAMPLES, LINES))
        if self.kind == "linear":
            return np.broadcast_to(across * self.width / 2, depth.shape), depth, depth
        angle = across * np.float32(self.half_angle)
        x, z = (self.radius + way) * np.sin(angle), (self.radius + way) * np.cos(angle) - self.radius
        return x, z, depth

    def locate(self, x: Grid, z: Grid) -> tuple[Grid, Grid]:
        """The (sample, line) numbers, with fractions, of points given in mm."""
        if self.kind == "linear":
            way, across = z, x * np.float32(2 / self.width)
        else:
            way = np.hypot(x, z + np.float32(self.radius)) - np.float32(self.radius)
            across = np.arctan2(x, z + np.float32(self.radius)) / np.float32(self.half_angle)
        return way * np.float32((SAMPLES - 1) / self.depth), (across + 1) * np.float32((LINES - 1) / 2)


@dataclass(frozen=True, slots=True)
class Cut:
    """Which part of the sector the window shows: the depth of its upper edge, its height and middle, in mm."""

    top: float
    height: float
    middle: float


@dataclass(frozen=True, slots=True)
class Settings:
    """How the scanner is set: gain and dynamic range (dB), focus (0..1 of depth), pulse and beam width."""

    gain: float
    dynamic_range: float
    focus: float
    pulse: float
    beam: float
    fading: float
    noise: float
    smoothing: float


def scan(canvas: Canvas, settings: Settings, rng: np.random.Generator) -> Grid:
    """The compressed echoes (samples, lines), 0..255, of everything painted on a canvas."""
    echoes = _echoes(canvas, settings, rng)
    envelope = np.hypot(echoes[0], echoes[1])
    envelope = _reverberate(envelope, rng)
    return _compress(envelope, settings)


def convert(lines: Grid, probe: Probe, window: Box, cut: Cut) -> tuple[Pixels, NDArray[np.bool_], float]:
    """Scan lines as a picture of the window's size, with the sector's mask and the size of a pixel in mm."""
    pitch = cut.height / (window.height - 1)
    x = (np.arange(window.width, dtype=np.float32) - (window.width - 1) / 2) * np.float32(pitch)
    z = np.arange(window.height, dtype=np.float32) * np.float32(pitch)
    x, z = np.broadcast_arrays(x[None, :] + np.float32(cut.middle), z[:, None] + np.float32(cut.top))
    sample, line = probe.locate(x, z)
    mask = (sample >= 0) & (sample <= SAMPLES - 1) & (line >= 0) & (line <= LINES - 1)
    grey = np.zeros(mask.shape, np.float32)
    grey[mask] = ndimage.map_coordinates(lines, [sample[mask], line[mask]], order=1, mode="nearest")
    return np.round(grey).astype(np.uint8), mask, float(pitch)


def _echoes(canvas: Canvas, settings: Settings, rng: np.random.Generator) -> Grid:
    """Scatterers of random phase and reflectors of one, blurred by pulse and beam: (2, samples, lines)."""
    shape = canvas.echo.shape
    reach = _reach(canvas, settings, rng)
    texture = 1.8 * smooth_noise(shape, (9, 7), rng) + 2.2 * smooth_noise(shape, (24, 18), rng)
    patchy = 10 ** ((4.5 * np.clip(smooth_noise(shape, (16, 9), rng), -2.2, 1.2) - 1.5) / 20)
    shine = canvas.mirror * patchy * reach
    scatter = 10 ** ((canvas.echo + texture) / 20) * reach + 0.45 * shine
    noise = rng.standard_normal((2, *shape), dtype=np.float32)
    diffuse = _beam(_pulse(noise * scatter, settings, unit_energy=True), settings, unit_energy=True)
    smooth = _beam(_pulse(shine[None], settings, unit_energy=False), settings, unit_energy=False)
    diffuse[0] += smooth[0]
    return np.asarray(diffuse + _noise_floor(canvas, settings, rng), np.float32)


def _reach(canvas: Canvas, settings: Settings, rng: np.random.Generator) -> Grid:
    """The amplitude that is left of the beam at each point: absorption on the way, contact of the probe."""
    lost = np.cumsum(canvas.loss, axis=0) * (canvas.step / 10)
    lost = np.minimum(lost, 34.0) + canvas.depth / 10 * settings.fading
    contact = 1.6 * smooth_noise((4, LINES), (4, 24), rng)[:1]
    edge = 5.0 * np.linspace(-1, 1, LINES, dtype=np.float32)[None] ** 8
    return np.asarray(10 ** ((contact - edge - lost) / 20), np.float32)


def _pulse(signal: NDArray[np.floating], settings: Settings, unit_energy: bool) -> Grid:
    blurred = ndimage.gaussian_filter1d(signal, settings.pulse, axis=1, mode="nearest")
    return np.asarray(blurred * (_energy(settings.pulse) if unit_energy else 1.0), np.float32)


def _beam(signal: Grid, settings: Settings, unit_energy: bool) -> Grid:
    """Blur across the lines, band by band: narrow at the focus, wider with the distance from it."""
    blurred = np.empty_like(signal)
    for rows in np.array_split(np.arange(SAMPLES), BANDS):
        away = (rows.mean() / SAMPLES - settings.focus) / 0.35
        sigma = settings.beam * float(np.sqrt(1.0 + away * away))
        part = ndimage.gaussian_filter1d(signal[:, rows], sigma, axis=2, mode="nearest")
        blurred[:, rows] = part * (_energy(sigma) if unit_energy else 1.0)
    return blurred


def _energy(sigma: float) -> float:
    """What a unit-variance noise must be multiplied by after a Gaussian blur to have unit variance again."""
    return float(np.sqrt(2 * np.sqrt(np.pi) * sigma))


def _noise_floor(canvas: Canvas, settings: Settings, rng: np.random.Generator) -> Grid:
    level = 10 ** ((settings.noise + 14.0 * (canvas.depth / canvas.depth.max()) ** 2) / 20)
    noise = rng.standard_normal((2, *canvas.echo.shape), dtype=np.float32)
    return np.asarray(ndimage.gaussian_filter1d(noise, 0.8, axis=1) * level, np.float32)


def _reverberate(envelope: Grid, rng: np.random.Generator) -> Grid:
    """Add weak copies of strong echoes a little deeper."""
    way = int(rng.integers(12, 30))
    echoed = envelope.copy()
    echoed[way:] += 0.03 * envelope[:-way]
    echoed[2 * way :] += 0.012 * envelope[: -2 * way]
    return echoed


def _compress(envelope: Grid, settings: Settings) -> Grid:
    level = 20 * np.log10(envelope + 1e-5) + settings.gain
    grey = np.clip(1.0 + level / settings.dynamic_range, 0.0, 1.0)
    smooth = ndimage.gaussian_filter(grey, settings.smoothing)
    return np.asarray(255.0 * np.clip(smooth, 0.0, 1.0) ** 1.3, np.float32)
