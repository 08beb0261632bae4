"""One synthetic examination: a patient, a view and a probe become a grey sector in a window of the screen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain import Box, Pixels
from app.images.phantom_anatomy import View
from app.images.phantom_canvas import Canvas, Place
from app.images.phantom_patient import DEVICES, Patient
from app.images.phantom_scanner import Cut, Probe, Settings, convert, scan
from app.images.phantom_womb import crown_rump, surround


@dataclass(frozen=True, slots=True)
class Exam:
    """The picture in the scanner's window, its sector mask, mm per pixel, the findings drawn and the probe."""

    grey: Pixels
    mask: NDArray[np.bool_]
    pitch: float
    findings: tuple[str, ...]
    probe: Probe
    settings: Settings


def examine(patient: Patient, view: View, window: Box, rng: np.random.Generator) -> Exam:
    """Look at a view of a patient as the scanner of that patient would show it in the window."""
    place, reach = _place(patient, view, rng)
    probe = _probe(patient, view, place, reach, rng)
    canvas = Canvas(*probe.points(), rng)
    if not view.inside:
        surround(canvas, place, reach, patient, rng)
    findings = view.draw(canvas, *place.axes(canvas), patient, rng)
    settings = _settings(patient, rng)
    lines = scan(canvas, settings, rng)
    grey, mask, pitch = convert(lines, probe, window, _cut(probe, place, reach, view, _has_sac(patient, view), rng))
    return Exam(grey, mask, pitch, tuple(findings), probe, settings)


def _place(patient: Patient, view: View, rng: np.random.Generator) -> tuple[Place, float]:
    """Where the body lies, and how far (mm) it reaches from its centre in depth."""
    if view.organ == "maternal cervix":
        return Place((rng.normal(0, 3), rng.normal(0, 2)), rng.normal(0, 0.08), 1.0, patient.flip), 48.0
    if view.inside:
        reach = crown_rump(patient) * 0.32 + 14.0
        return Place((rng.normal(0, 3), reach + rng.uniform(9, 22)), rng.normal(0, 0.25), 1.0, patient.flip), reach
    reach = view.half[1] * patient.scale
    depth = patient.fat + 5.0 + patient.fluid * 6.0 + reach * rng.uniform(1.0, 1.2)
    angle = _angle(patient, view, rng)
    flip = patient.flip if rng.random() < 0.8 else not patient.flip
    aside = (0.35 * reach if flip else -0.35 * reach) if _has_sac(patient, view) else 0.0
    return Place((aside + rng.normal(0, 5.0), depth), angle, patient.scale, flip), reach


def _has_sac(patient: Patient, view: View) -> bool:
    """Whether something lies before the belly, which then must lie sideways to be in the picture."""
    return patient.diagnosis == "omphalocele" and patient.diagnosis in view.shows


def _angle(patient: Patient, view: View, rng: np.random.Generator) -> float:
    """The patient's own lie with a little turn of the picture; trunks may lie in any way but face down."""
    if view.angle < 1.0:
        return float(patient.turn * view.angle / 0.22 + rng.normal(0, view.angle / 2))
    if _has_sac(patient, view):
        return float(patient.turn + rng.normal(0, 0.2))
    return float(np.pi * (0.5 if patient.flip else 0.0) + patient.turn * 3.0 + rng.normal(0, 0.5))


def _probe(patient: Patient, view: View, place: Place, reach: float, rng: np.random.Generator) -> Probe:
    kind = str(rng.choice(view.probes))
    depth = place.centre[1] + reach * rng.uniform(1.08, 1.45) + rng.uniform(0, 8)
    width = float(max(48.0, 2.25 * view.half[0] * patient.scale))
    if kind == "linear" and width < 92.0:
        return Probe(kind, 0.0, 0.0, width, float(depth))
    radius, angle = {
        "linear": (rng.uniform(55, 65), rng.uniform(0.6, 0.7)),
        "convex": (rng.uniform(40, 60), rng.uniform(0.5, 0.66)),
        "phased": (rng.uniform(4, 8), rng.uniform(0.62, 0.8)),
        "endo": (rng.uniform(9, 12), rng.uniform(1.0, 1.25)),
    }[kind]
    return Probe("convex" if kind == "linear" else kind, float(radius), float(angle), 0.0, float(depth))


def _settings(patient: Patient, rng: np.random.Generator) -> Settings:
    """The scanner's own look, and the patient's: gain, contrast, penetration."""
    fine = patient.device == DEVICES[0]
    return Settings(
        gain=patient.gain - 4.5 + float(rng.normal(0, 1.2)),
        dynamic_range=(54.0 if fine else 62.0) + patient.contrast,
        focus=float(rng.uniform(0.4, 0.7)),
        pulse=1.05 if fine else 1.35,
        beam=0.95 if fine else 1.3,
        fading=patient.fading + float(rng.normal(0, 0.12)),
        noise=-66.0 + patient.fat / 3.0,
        smoothing=0.55 if fine else 0.35,
    )


def _cut(probe: Probe, place: Place, reach: float, view: View, sac: bool, rng: np.random.Generator) -> Cut:
    """What is shown: mostly the sector from its top on, at times a magnified part around the body."""
    x, z = place.centre
    if not view.inside and not sac and rng.random() < 0.28:
        height = min(2 * reach * rng.uniform(1.2, 1.55), 1.1 * z)
        return Cut(float(z - height * rng.uniform(0.48, 0.52)), float(height), float(x + rng.normal(0, 2)))
    needed = (z + 1.06 * reach) - probe.top
    whole = probe.depth - probe.top
    height = max(needed, whole / (1.0 + abs(rng.normal(0, 0.2))))
    return Cut(probe.top, float(min(height, whole)), 0.0)
