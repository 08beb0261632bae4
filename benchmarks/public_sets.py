"""The measured tables of docs/reproduce.md: encoders and baselines on public ultrasound sets, by ``sonoseek evaluate``.

python benchmarks/public_sets.py DATA_DIR WORK_DIR [--models MODELS] [--encoders A,B] [--sets fetal,early] [--draws N]

DATA_DIR is what SONOSEEK_TEST_DATA names. Enrols each set into WORK_DIR/data, embeds it with every encoder, judges it
and leaves WORK_DIR/reports/SET (real images: keep them where the sets may be). MODELS is a store that has the encoders
which do not ship with SonoSeek (benchmarks/trained_dinov2.py makes one).
Writes public_sets.md and .json into benchmarks/results (or --out).
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.evaluation.columns import titled

RESULTS = Path(__file__).parent / "results"
BASELINES = ("untrained-resnet", "pixels-32", "histogram")
SAME_PATIENT = {"Patient00799": "Patient00786", "Patient00830": "Patient00820"}
"""Two people of FETAL_PLANES_DB who stand in it under two numbers each."""
SQUEEZED = "vaishnavi9989/"
"""Head pictures of this source passed through an export that squeezed them: an encoder may learn that."""

Row = dict[str, str]


@dataclass(frozen=True)
class PublicSet:
    """A library to judge: from which folders its pictures come, which of them, and how."""

    name: str
    folders: tuple[str, ...]
    title: str
    options: tuple[str, ...] = ()
    wanted: Callable[[Row], bool] = lambda _row: True


SETS = (
    PublicSet(
        "fetal",
        ("fetal", "hc18"),
        "Fetal planes (FETAL_PLANES_DB; for the group of heads HC18 too)",
        ("--leave-out", "head circumference plane"),
    ),
    PublicSet(
        "fetal-unsqueezed",
        ("fetal",),
        "Fetal planes without the pictures of the squeezing export",
        wanted=lambda row: not row["source"].startswith(SQUEEZED),
    ),
    PublicSet("early", ("early",), "First trimester, structures (NT set)", ("--patients", "near-duplicates")),
    PublicSet("breast", ("breast",), "Breast (BUSI)", ("--patients", "near-duplicates")),
    PublicSet("lung", ("lung",), "Lung (POCUS videos; `regular` is what others call normal)"),
)


def main() -> None:
    """Enrol, embed, judge, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--encoders", default="resnet-us")
    parser.add_argument("--sets", default=",".join(one.name for one in SETS))
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    wanted = [one for one in SETS if one.name in options.sets.split(",")]
    reports = {one.name: judged(one, options) for one in wanted}
    text = "\n\n".join(markdown(one, reports[one.name]) for one in wanted)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "public_sets.md").write_text(text + "\n", encoding="utf-8")
    rows = [row for one in wanted for row in rows_of(one, reports[one.name])]
    (options.out / "public_sets.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(text)


def judged(one: PublicSet, options: argparse.Namespace) -> dict[str, Any]:
    """The report of a set; what is there already is not done again."""
    folder = options.work / "reports" / one.name
    if not (folder / "report.json").exists():
        encoders = options.encoders.split(",")
        manifest = write_manifest(one, options.data, options.work / "manifests")
        run(options, "enrol", one.name, str(manifest), "--allow-unmasked")
        for encoder in encoders[1:]:
            run(options, "reembed", one.name, "--encoder", encoder)
        entrants = ",".join((*encoders, *BASELINES))
        judge = ("--encoders", entrants, "--draws", str(options.draws), "--out", str(folder))
        run(options, "evaluate", one.name, *judge, *one.options)
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return report


def run(options: argparse.Namespace, *words: str) -> None:
    """A command of SonoSeek over the libraries of the working folder."""
    print("sonoseek", *words, flush=True)
    surroundings = os.environ | {
        "SONOSEEK_DATA": str(options.work / "data"),
        "SONOSEEK_ENCODERS__NAMES": options.encoders,
    }
    if options.models:
        surroundings["SONOSEEK_MODELS"] = str(options.models)
    subprocess.run([sys.executable, "-m", "app", *words], env=surroundings, check=True)


def write_manifest(one: PublicSet, data: Path, folder: Path) -> Path:
    """The set's rows as one manifest, with patients who stand under two numbers as one."""
    rows = [row for name in one.folders for row in read_rows(data / name) if one.wanted(row)]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{one.name}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_rows(folder: Path) -> Iterator[Row]:
    """The rows of a folder's manifest, their paths made absolute."""
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            patient = SAME_PATIENT.get(row["patient_id"], row["patient_id"])
            yield row | {"path": str((folder / row["path"]).resolve()), "patient_id": patient}


def rows_of(one: PublicSet, report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each protocol, label kind and encoder."""
    for encoder, found in report["encoders"].items():
        for protocol in ("patient", "paper"):
            for kind, figures in found[protocol].items():
                yield {
                    "set": one.name,
                    "protocol": protocol,
                    "kind": kind,
                    "encoder": encoder,
                    "images": figures["coverage"]["annotated"],
                    "classes": figures["coverage"]["classes"],
                    "patients": figures["coverage"]["patients"],
                    "p_at_10": figures["p_at_10"],
                    "both_roles": figures["both_roles"],
                    "chance": figures["chance"]["micro"],
                    "permuted": found["permutations"].get(kind, [None])[0],
                    "trained_on_pictures": next(
                        (other["shared"] for other in report["overlaps"] if other["contestant"] == encoder), 0
                    ),
                }


def markdown(one: PublicSet, report: dict[str, Any]) -> str:
    """The figures of a set as a table, the best first within each label kind."""
    parts = [f"## {one.title}"]
    rows = list(rows_of(one, report))
    kinds = dict.fromkeys(row["kind"] for row in rows)
    for kind in kinds:
        mine = [row for row in rows if row["kind"] == kind and row["protocol"] == "patient"]
        if mine[0]["classes"] == 1:
            parts.append(f"{titled(kind)}: one class only, nothing to tell apart.")
            continue
        paper = {row["encoder"]: row for row in rows if row["kind"] == kind and row["protocol"] == "paper"}
        counts = f"{mine[0]['images']} images, {mine[0]['classes']} classes, {mine[0]['patients']} patients or groups"
        lines = [
            f"### {titled(kind)}: {counts}",
            "",
            "| encoder | of ten | 95 %, both roles | chance | corrected | labels exchanged | paper's | trained on |",
            "| --- | ---: | --- | ---: | ---: | --- | ---: | ---: |",
        ]
        mine.sort(key=lambda row: -row["p_at_10"]["micro"])
        parts.append("\n".join(lines + [line_of(row, paper[row["encoder"]]) for row in mine]))
    return "\n\n".join(parts)


def line_of(row: dict[str, Any], paper: dict[str, Any]) -> str:
    """One encoder, in neighbours of ten."""
    found, chance, both = row["p_at_10"]["micro"], row["chance"], row["both_roles"]
    corrected = (found - chance) / (1 - chance) if chance < 1 else 0.0
    sure = "–" if both["low"] is None else f"{10 * both['low']:.2f} to {10 * both['high']:.2f}"
    cells = (
        row["encoder"],
        f"{10 * found:.2f}",
        sure,
        f"{10 * chance:.2f}",
        f"{corrected:.2f}",
        _permuted(row["permuted"]),
        f"{10 * paper['p_at_10']['micro']:.2f}",
        f"{row['trained_on_pictures']} pictures" if row["trained_on_pictures"] else "–",
    )
    return "| " + " | ".join(cells) + " |"


def _permuted(control: dict[str, Any] | None) -> str:
    """What comes out when labels are exchanged between patients, and how often so much as the real figure."""
    if control is None:
        return "–"
    p = control["p"]
    return f"{10 * control['mean']:.2f}, p {'< .001' if p < 0.001 else f'= {p:.3f}'}"


if __name__ == "__main__":
    main()
