"""The table of synthetic views: what each is called, how large it is, which probes look at it, who draws it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from app.images import phantom_head, phantom_trunk, phantom_womb
from app.images.phantom_canvas import Canvas, Grid
from app.images.phantom_patient import Patient

Draw = Callable[[Canvas, Grid, Grid, Patient, np.random.Generator], list[str]]


@dataclass(frozen=True, slots=True)
class View:
    """A view: labels, half length and half height (mm at 22 weeks), spread of angle, diagnoses it can show.

    ``draw`` paints it on a canvas in the body's coordinates and returns the findings that it has drawn;
    ``inside`` says that the scene brings its own surroundings, in real mm from the probe.
    """

    organ: str
    group: str
    plane: str | None
    half: tuple[float, float]
    angle: float
    probes: tuple[str, ...]
    draw: Draw
    shows: tuple[str, ...] = ()
    inside: bool = False


HEAD = ("convex", "convex", "convex", "linear")

VIEWS = (
    View("trans-thalamic", "fetal head", "axial", (40, 32), 0.22, HEAD, phantom_head.trans_thalamic),
    View(
        "trans-ventricular",
        "fetal head",
        "axial",
        (40, 32),
        0.22,
        HEAD,
        phantom_head.trans_ventricular,
        shows=("ventriculomegaly",),
    ),
    View(
        "trans-cerebellar",
        "fetal head",
        "axial",
        (42, 32),
        0.25,
        HEAD,
        phantom_head.trans_cerebellar,
        shows=("thick nuchal fold",),
    ),
    View(
        "abdomen",
        "fetal abdomen",
        "axial",
        (29, 29),
        np.pi,
        ("convex",),
        phantom_trunk.abdomen,
        shows=("hydronephrosis", "omphalocele"),
    ),
    View(
        "thorax",
        "fetal thorax",
        "axial",
        (26, 26),
        np.pi,
        ("convex", "convex", "phased"),
        phantom_trunk.thorax,
    ),
    View(
        "femur",
        "fetal limb",
        None,
        (26, 15),
        0.16,
        ("convex", "convex", "linear"),
        phantom_trunk.femur,
        shows=("short femur",),
    ),
    View(
        "spine",
        "fetal spine",
        "sagittal",
        (40, 20),
        0.16,
        ("convex", "linear"),
        phantom_trunk.spine_sagittal,
    ),
    View(
        "spine",
        "fetal spine",
        "coronal",
        (40, 20),
        0.16,
        ("convex", "linear"),
        phantom_trunk.spine_coronal,
    ),
    View(
        "maternal cervix",
        "maternal cervix",
        "sagittal",
        (40, 35),
        0.1,
        ("endo",),
        phantom_womb.cervix,
        shows=("placenta praevia",),
        inside=True,
    ),
    View(
        "crown-rump",
        "first-trimester fetus",
        "sagittal",
        (34, 24),
        0.3,
        ("endo", "endo", "convex"),
        phantom_womb.early_sac,
        inside=True,
    ),
)
ORGANS = tuple(dict.fromkeys(view.organ for view in VIEWS))
