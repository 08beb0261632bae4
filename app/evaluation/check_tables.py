"""The tables of the checks: permuted labels, attributes, subgroups, hubs and the size of the index."""

from __future__ import annotations

from app.evaluation.columns import INTERVALS, Columns, interval_columns, rows_of
from app.evaluation.ground import Ground
from app.evaluation.patient_report import ContestantReport, PatientFigures
from app.evaluation.protocol import whom_it_leaves_out
from app.evaluation.tables import Table

_WHO = {"encoder": "contestant", "kind": "kind"}

_PERMUTATIONS: Columns = {
    **_WHO,
    "units": "units",
    "within": "within",
    "P@10": "real",
    "mean of permutations": "mean",
    "exact mean": "expected",
    "standard error": "standard_error",
    "difference in standard errors": "deviations",
    "within 3": "agrees",
    "p": "p",
    "share of images that move": "moved",
}

_ATTRIBUTES: Columns = {
    **_WHO,
    "attribute": "attribute",
    "values": "values",
    "queries": "queries",
    "found in 10": "found_in_10",
    "expected in 10": "expected_in_10",
    **interval_columns("lift", value="lift"),
    "with the label: found": "same_label_found",
    "with the label: expected": "same_label_expected",
    **interval_columns("same_label_lift", "with the label:", "with the label: lift"),
}

_SUBGROUPS: Columns = {
    **_WHO,
    "attribute": "attribute",
    "value": "value",
    "trials": "trials",
    "patients": "patients",
    **interval_columns("p_at_10", value="P@10"),
    "chance": "chance",
    **interval_columns("chance_corrected", "chance-corrected"),
}

_HUBNESS: Columns = {
    **_WHO,
    "images": "images",
    "mean N10": "mean",
    "skew of N10": "skew",
    "share of the top 1 %": "top_share",
    "never found": "never",
    "largest N10": "largest",
}

_INDEX_SIZE: Columns = {
    "share of patients": "share",
    "images": "images",
    "P@10": "p_at_10",
    "sd over repeats": "spread",
    "chance": "chance",
    "repeats": "repeats",
}


def check_tables(ground: Ground, figures: PatientFigures) -> list[Table]:
    """The tables of all checks, of the protocol that the report stands for."""
    whom = whom_it_leaves_out(ground, figures.settings.protocol)
    intervals = INTERVALS.format(draws=figures.settings.draws, seed=figures.settings.seed)
    return [
        _permutations(figures, whom),
        _attributes(figures, whom, intervals),
        _subgroups(figures, whom, intervals),
        _hubness(figures, whom),
        _index_size(figures, whom),
    ]


def _permutations(figures: PatientFigures, whom: str) -> Table:
    found = [one for kind, report in _each(figures) for one in report.permutations.get(kind, ())]
    return Table(
        key="permutations",
        title=f"Control: the labels permuted {figures.settings.permutations} times on the same neighbours",
        caption=whom,
        columns=tuple(_PERMUTATIONS),
        rows=rows_of(_PERMUTATIONS, found),
        formula="units patient: all labels of a patient go together to one with as many images; units image: every "
        "label may go to every image, with exact mean sum n_c (n_c - 1) / (N - 1) / sum n_c; every label stays as "
        "frequent as it is; p = (1 + permutations at least as good) / (1 + permutations)",
        notes=(
            "The p of units image takes images of one patient for independent; that of units patient does not.",
            "One in 370 right means lies beyond 3 standard errors by chance.",
        ),
    )


def _attributes(figures: PatientFigures, whom: str, intervals: str) -> Table:
    found = [one for kind, report in _each(figures) for one in report.attribute_leakage.get(kind, ())]
    return Table(
        key="attribute-leakage",
        title="Attribute leakage: neighbours that share the query's device, operator or the like",
        caption=whom,
        columns=tuple(_ATTRIBUTES),
        rows=rows_of(_ATTRIBUTES, found),
        formula="expected = 10 x (visible images with the query's value) / (visible images); with the label: only "
        "neighbours that carry the query's label, expected among the visible images of that label",
        notes=(intervals,),
    )


def _subgroups(figures: PatientFigures, whom: str, intervals: str) -> Table:
    found = [one for kind, report in _each(figures) for one in report.subgroups.get(kind, ())]
    return Table(
        key="subgroups",
        title="Subgroups: P@10 by attribute of the query",
        caption=f"{whom} The gallery stays whole.",
        columns=tuple(_SUBGROUPS),
        rows=rows_of(_SUBGROUPS, found),
        formula="micro P@10 over the trials of the subgroup; chance-corrected = (P - E) / (1 - E)",
        notes=(intervals, "Subgroups differ in their classes: compare the chance-corrected figures."),
    )


def _hubness(figures: PatientFigures, whom: str) -> Table:
    found = [report.hubness[kind] for kind, report in _each(figures) if kind in report.hubness]
    return Table(
        key="hubness",
        title="Hubness: images that are among the ten nearest of many",
        caption=whom,
        columns=tuple(_HUBNESS),
        rows=rows_of(_HUBNESS, found),
        formula="N10(x) = queries that have x among their ten nearest; skew = E[(N10 - mean)³] / sd³ "
        "(Radovanović et al. 2010)",
    )


def _index_size(figures: PatientFigures, whom: str) -> Table:
    curves = [report.index_size[kind] for kind, report in _each(figures) if kind in report.index_size]
    return Table(
        key="index-size",
        title="Index size: P@10 with a share of the patients in the library",
        caption=whom,
        columns=(*_WHO, "queries", *_INDEX_SIZE),
        rows=[
            [curve.contestant, curve.kind, curve.queries, *cells]
            for curve in curves
            for cells in rows_of(_INDEX_SIZE, curve.points)
        ],
        formula="whole patients are kept at random; the queries stay the same",
        notes=("The sd is between random choices of patients, not an interval.",),
    )


def _each(figures: PatientFigures) -> list[tuple[str, ContestantReport]]:
    """Kinds and contestants, the contestants of one kind together."""
    return [(kind, one) for kind in figures.kinds for one in figures.contestants]
