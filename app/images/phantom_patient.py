"""The fictive patients of the phantoms: how they differ, what they have, which scanner sees them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DIAGNOSIS_GROUPS = {
    "normal": "normal",
    "ventriculomegaly": "central nervous system",
    "thick nuchal fold": "aneuploidy marker",
    "hydronephrosis": "urinary tract",
    "omphalocele": "abdominal wall",
    "short femur": "skeleton",
    "placenta praevia": "placenta",
}
DEVICES = ("Phantom A100", "Phantom B200")


@dataclass(frozen=True, slots=True)
class Patient:
    """A fictive patient: the fetus' age (weeks) and shape, the mother's tissue, and the scanner used."""

    number: int
    weeks: float
    early_weeks: float
    diagnosis: str
    device: str
    stature: float
    roundness: float
    fluid: float
    fat: float
    brain: float
    organs: float
    gain: float
    contrast: float
    fading: float
    turn: float
    flip: bool
    anterior_placenta: bool

    @property
    def patient_id(self) -> str:
        """A fictive identifier that says that it is synthetic."""
        return f"synthetic-{self.number:03d}"

    @property
    def scale(self) -> float:
        """The fetus' size relative to 22 weeks: biparietal diameters grow nearly straight between 18 and 35."""
        return self.stature * (0.32 + 0.031 * self.weeks)

    @property
    def trimester(self) -> str:
        """The trimester of all pictures but those of the early sac."""
        return "second" if self.weeks < 28 else "third"


def recruit(number: int, seed: int) -> Patient:
    """The patient of that number: the same for the same seed, however many others there are."""
    rng = np.random.default_rng([seed, 1, number])
    third = rng.random() < 0.3
    return Patient(
        number=number,
        weeks=float(rng.uniform(29, 35) if third else rng.uniform(18.5, 25)),
        early_weeks=float(rng.uniform(9, 13.5)),
        diagnosis=_diagnosis(number),
        device=DEVICES[(number // 12 + number // 2) % 2],
        stature=float(rng.normal(1.0, 0.05)),
        roundness=float(rng.normal(1.0, 0.06)),
        fluid=float(rng.uniform(0.0, 1.0)),
        fat=float(rng.uniform(9, 26)),
        brain=float(rng.normal(0, 2.0)),
        organs=float(rng.normal(0, 2.0)),
        gain=float(rng.normal(0, 2.4)),
        contrast=float(rng.uniform(-5, 7)),
        fading=float(rng.uniform(0.0, 0.9)),
        turn=float(rng.normal(0, 0.22)),
        flip=bool(rng.random() < 0.5),
        anterior_placenta=bool(rng.random() < 0.5),
    )


def _diagnosis(number: int) -> str:
    """Every second patient has one of the diagnoses, each in turn (and each on both scanners)."""
    sick = [name for name in DIAGNOSIS_GROUPS if name != "normal"]
    return sick[number // 2 % len(sick)] if number % 2 else "normal"
