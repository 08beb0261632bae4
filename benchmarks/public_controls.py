"""Shortcut controls on public ultrasound sets: what labels are found by that is no anatomy.

python benchmarks/public_controls.py DATA_DIR WORK_DIR [--models MODELS] [--encoders A,B] [--sets fetal,breast]

WORK_DIR is that of benchmarks/public_sets.py, which is to be run first: its libraries are judged again, with
``sonoseek evaluate --controls``. Writes public_controls.md and .json into benchmarks/results (or --out).
"""

import argparse
import json
from pathlib import Path
from typing import Any

from public_sets import RESULTS, SETS, PublicSet, run, write_manifest

from app.evaluation.columns import titled

KINDS = ("organ", "diagnoses")


def main() -> None:
    """Judge with controls, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--encoders", default="resnet-us")
    parser.add_argument("--sets", default="fetal-unsqueezed,breast")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    wanted = [one for one in SETS if one.name in options.sets.split(",")]
    found = {one.name: judged(one, options) for one in wanted}
    text = "\n\n".join(markdown(one, found[one.name]) for one in wanted)
    (options.out / "public_controls.md").write_text(text + "\n", encoding="utf-8")
    (options.out / "public_controls.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(text)


def judged(one: PublicSet, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The control figures of a set."""
    folder = options.work / "reports" / f"{one.name}-controls"
    if not (folder / "report.json").exists():
        manifest = write_manifest(one, options.data, options.work / "manifests")
        told = ("--encoders", options.encoders, "--controls", str(manifest), "--draws", "100", "--out", str(folder))
        run(options, "evaluate", one.name, *told, *one.options)
    controls: list[dict[str, Any]] = json.loads((folder / "report.json").read_text(encoding="utf-8"))["controls"]
    return [figure for figure in controls if figure["kind"] in KINDS]


def markdown(one: PublicSet, figures: list[dict[str, Any]]) -> str:
    """A line for each control, a column for each contestant."""
    parts = [f"## {one.title}"]
    for kind in dict.fromkeys(figure["kind"] for figure in figures):
        mine = [figure for figure in figures if figure["kind"] == kind]
        names = list(dict.fromkeys(figure["contestant"] for figure in mine))
        by = {(figure["control"], figure["contestant"]): figure for figure in mine}
        lines = [
            f"### {titled(kind)}: chance-corrected precision (over pixels; over the untrained network)",
            "",
            f"| pictures | {' | '.join(names)} |",
            f"| --- |{' --- |' * len(names)}",
        ]
        for control in dict.fromkeys(figure["control"] for figure in mine):
            lines.append(f"| {control} | {' | '.join(cell(by[control, name]) for name in names)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def cell(figure: dict[str, Any]) -> str:
    """A figure with its interval, and the differences to the baselines, in bold where they are more than chance."""
    interval = figure["interval"]
    text = f"{figure['corrected']:.2f} ({interval['low']:.2f} to {interval['high']:.2f})"
    over = [over_text(figure[base]) for base in ("over_pixels", "over_untrained") if figure[base] is not None]
    return f"{text}; {', '.join(over)}" if over else text


def over_text(difference: dict[str, Any]) -> str:
    """A difference with its sign."""
    text = f"{difference['value']:+.2f}"
    return f"**{text}**" if difference["p"] is not None and difference["p"] < 0.05 else text


if __name__ == "__main__":
    main()
