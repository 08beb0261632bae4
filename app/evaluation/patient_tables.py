"""The tables of the rigorous protocol: averages, classes, comparisons and what leaks."""

from __future__ import annotations

from app.evaluation.check_tables import check_tables
from app.evaluation.columns import BOTH_ROLES, INTERVALS, interval_columns, rows_of, titled
from app.evaluation.ground import Ground
from app.evaluation.patient_figures import KindFigures
from app.evaluation.patient_report import PatientFigures
from app.evaluation.protocol import whom_it_leaves_out
from app.evaluation.tables import Cell, Table

_SUMMARY = {
    "encoder": "contestant",
    "P@10": "p_at_10.micro",
    "low": "p_at_10.low",
    "high": "p_at_10.high",
    "method": "p_at_10.method",
    "macro P@10": "p_at_10.macro",
    "macro low": "p_at_10.macro_low",
    "macro high": "p_at_10.macro_high",
    "macro method": "p_at_10.macro_method",
    "macro resamples redrawn": "p_at_10.macro_redrawn",
    "low, both roles": "both_roles.low",
    "high, both roles": "both_roles.high",
    "macro low, both roles": "macro_both_roles.low",
    "macro high, both roles": "macro_both_roles.high",
    "found in 10": "found_in_10",
    "expected in 10": "expected_in_10",
    "lift": "lift",
    "lift low": "lift_low",
    "lift high": "lift_high",
    "chance-corrected": "chance_corrected.micro",
    "chance-corrected low": "chance_corrected.low",
    "chance-corrected high": "chance_corrected.high",
    "macro chance-corrected": "chance_corrected.macro",
    "P@1": "p_at_1.micro",
    "macro P@1": "p_at_1.macro",
    "P@5": "p_at_5.micro",
    "macro P@5": "p_at_5.macro",
    "recall@10": "recall_at_10.micro",
    "macro recall@10": "recall_at_10.macro",
    "MAP@R": "map_at_r.micro",
    "MAP@R low": "map_at_r.low",
    "MAP@R high": "map_at_r.high",
    "macro MAP@R": "map_at_r.macro",
    "NDCG@10": "ndcg_at_10.micro",
    "macro NDCG@10": "ndcg_at_10.macro",
    **interval_columns("accuracy_of_5", "accuracy of 5", method=False),
    **interval_columns("macro_f1_of_5", "macro F1 of 5", method=False),
}

_CLASSES = {
    "label": "label",
    "images": "images",
    "patients": "patients",
    "in macro": "in_macro",
    **interval_columns("p_at_10", value="P@10"),
    "redrawn": "p_at_10.redrawn",
    "found in 10": "found_in_10",
    "expected in 10": "expected_in_10",
    "lift": "lift",
    "chance-corrected": "chance_corrected",
    "recall@10": "recall_at_10",
    "F1 of 5": "f1_of_5",
}

_DIFFERENCES = {
    "protocol": "protocol",
    "kind": "kind",
    "average": "average",
    "first": "first",
    "second": "second",
    "difference": "difference",
    "low": "low",
    "high": "high",
    "method": "method",
    "p": "p",
    "p (Holm)": "p_holm",
    "low, both roles": "both_roles.low",
    "high, both roles": "both_roles.high",
    "p, both roles": "both_roles.p",
    "p, both roles (Holm)": "both_roles_holm",
    "tests": "tests",
    "patients": "patients",
}

_LEAKAGE = {
    "encoder": "contestant",
    "kind": "kind",
    **interval_columns("own_same", value="own with the label in 10"),
    "own in 10": "own_any.value",
    "near-duplicates with the label in 10": "duplicates_same.value",
    "share of trials with one": "queries_with.value",
    "share of all found": "share_of_found",
    "P@10 paper": "paper",
    "P@10 patient": "patient",
    **interval_columns("difference", "difference"),
}


def patient_tables(ground: Ground, figures: PatientFigures) -> list[Table]:
    """All tables of a report, those of the protocol that it stands for first; without those that have no rows."""
    tables = []
    for protocol in reversed(figures.settings.protocols):
        for kind in figures.kinds:
            found = [one.figures[protocol][kind] for one in figures.contestants]
            tables += [summary_table(ground, found), class_table(ground, found)]
    tables += [differences_table(ground, figures), leakage_table(figures), *check_tables(ground, figures)]
    return [table for table in tables if table.rows]


def summary_table(ground: Ground, figures: list[KindFigures]) -> Table:
    """One row per contestant: all averages of one kind under one protocol."""
    first, cover = figures[0], figures[0].coverage
    return Table(
        key=f"{first.protocol}-{first.kind}",
        title=f"{titled(first.kind)}: what the ten nearest share with the query ({first.protocol} protocol)",
        caption=f"{whom_it_leaves_out(ground, first.protocol)} {cover.annotated} of {cover.images} images carry a "
        f"label of the kind: {cover.trials} trials (query and label) of {cover.patients} patients. Macro figures are "
        f"means over the {cover.macro_classes} of {cover.classes} classes with at least {first.min_images} images "
        f"({cover.macro_trials} trials).",
        columns=tuple(_SUMMARY),
        rows=rows_of(_SUMMARY, figures),
        formula="P@10 = share of the ten nearest that carry the label, mean over trials; expected = 10 x (visible "
        "images with the label) / (visible images), the query itself left out; lift = found / expected; "
        "chance-corrected = (P - E) / (1 - E); recall@10 = found / visible images with the label; MAP@R: Musgrave et "
        "al. 2020; NDCG@10 with gain 2 for the same label and 1 for the same group; of 5: plurality of the five "
        "nearest, a tie falls to the nearest (several labels an image: each that more than half carry).",
        notes=(
            _intervals(first),
            BOTH_ROLES,
            "Macro: a resample that lacks one of the classes is drawn anew and counted.",
            f"{cover.blind} queries see nothing and are left out; {cover.lone} trials see nobody with their label: "
            "they count in P (found 0, expected 0), not in recall and MAP@R.",
        ),
    )


def class_table(ground: Ground, figures: list[KindFigures]) -> Table:
    """One row per contestant and class, with n."""
    first = figures[0]
    rows: list[list[Cell]] = [[one.contestant, *cells] for one in figures for cells in rows_of(_CLASSES, one.classes)]
    return Table(
        key=f"{first.protocol}-{first.kind}-classes",
        title=f"{titled(first.kind)}: every class ({first.protocol} protocol)",
        caption=f"{whom_it_leaves_out(ground, first.protocol)} Means over the queries that carry the label.",
        columns=("encoder", *_CLASSES),
        rows=rows,
        formula="as in the table of all classes, within the class; F1 = 2 TP / (2 TP + FP + FN) of the vote of five",
        notes=(
            _intervals(first),
            "A class of one patient has no interval; a resample that lacks the class is drawn anew and counted.",
        ),
    )


def differences_table(ground: Ground, figures: PatientFigures) -> Table:
    """Every pair of contestants, with p by sign flips and under Holm's correction."""
    settings = figures.settings
    return Table(
        key="differences",
        title="Which encoder is better: paired differences of P@10",
        caption=" ".join(f"{titled(one)}: {whom_it_leaves_out(ground, one)}" for one in reversed(settings.protocols)),
        columns=tuple(_DIFFERENCES),
        rows=rows_of(_DIFFERENCES, figures.differences),
        formula="difference = P@10 of the first - P@10 of the second on the same trials; p = (1 + b) / (1 + B), where "
        f"b of B = {settings.flips} random choices of the patients' signs give a difference at least as far from 0; "
        "Holm over the pairs of one protocol, kind and average",
        notes=(INTERVALS.format(draws=settings.draws, seed=settings.seed), BOTH_ROLES),
    )


def leakage_table(figures: PatientFigures) -> Table:
    """What of the paper's figures is the query's own patient."""
    found = [one.leakage[kind] for kind in figures.kinds for one in figures.contestants if kind in one.leakage]
    return Table(
        key="leakage",
        title="Leakage: the query's own patient among its ten nearest",
        caption="Counted under the paper's protocol, where a query sees its own patient and its near-duplicates.",
        columns=tuple(_LEAKAGE),
        rows=rows_of(_LEAKAGE, found),
        formula="own = of the query's patient, or a near-duplicate of the query; means over trials; difference = P@10 "
        "under the paper's protocol - P@10 under the patient protocol",
        notes=(
            "The difference between the protocols is smaller than what leaked: other images of the class fill the "
            "places that become free.",
            INTERVALS.format(draws=figures.settings.draws, seed=figures.settings.seed),
        ),
    )


def _intervals(figures: KindFigures) -> str:
    return INTERVALS.format(draws=figures.draws, seed=figures.seed)
