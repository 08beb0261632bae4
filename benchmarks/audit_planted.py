"""What an audit finds of errors that were planted: copies, and wrong labels, among real images.

python benchmarks/audit_planted.py DATA_DIR [--models MODELS --encoders resnet-us,NAME] [--sets fetal,breast]

DATA_DIR is what SONOSEEK_TEST_DATA names. Each set is enrolled into a library of its own together with planted images,
and audited as ``sonoseek audit`` does: copies of the same pixels in another file (exact), resized by .5 to .9 or 1.1 to
1.6 and saved as JPEG (resized), cut by up to 12 % a side (cropped), copies of one of these three sorts under another
label and, where there are patients, another patient (relabelled), and originals with a wrong label (mislabelled). All
drawn with seed 0. The thresholds were chosen on early, hc18 and lung, never on the sets that are judged here.
Writes audit_planted.md and .json into benchmarks/results (or --out).
"""

import argparse
import csv
import io
import json
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import binomtest

from app.config import EncoderSettings, Settings
from app.evaluation.audit import Audit, audit_library
from app.evaluation.audit_report import real_conflicts
from app.evaluation.near_duplicates import Verdict, near_by_hash
from app.library.manifest import read_manifest
from app.search.groups import NEAR_DUPLICATE_BITS
from app.wiring import Service, running_service

RESULTS = Path(__file__).parent / "results"
SAME_PATIENT = {"Patient00799": "Patient00786", "Patient00830": "Patient00820"}
"""Two people of FETAL_PLANES_DB who stand in it under two numbers each."""

COPIES = ("exact", "resized", "cropped")
SETS = {"fetal": "organ", "breast": "diagnoses"}
"""Set -> the label kind in which errors are planted."""

PER_KIND = {"fetal": 60, "breast": 30}
MISLABELLED = 0.05
NEAREST = 0.5
"""By vectors alone: nearer than this share of the distance to the tenth neighbour (chosen on early, hc18 and lung)."""


@dataclass
class Planted:
    """Rows of a manifest and what is true of them: ``roots[i]`` is the original that row i shows."""

    rows: list[dict[str, str]]
    roots: list[int]
    kinds: list[str] = field(default_factory=list)
    mislabelled: set[int] = field(default_factory=set)


def main() -> None:
    """Plant, audit, count and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--encoders", default="resnet-us")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    encoders = options.encoders.split(",")
    report = {"seed": options.seed, "encoders": encoders, "sets": {}}
    with tempfile.TemporaryDirectory() as scratch:
        settings = Settings(
            data=Path(scratch) / "data",
            models=options.models,
            encoders=EncoderSettings(names=tuple(encoders), dreamsim_scores=False),
        )
        with running_service(settings) as service:
            for name in options.sets.split(","):
                planted = plant(options.data / name, Path(scratch), SETS[name], PER_KIND[name], options.seed)
                ids = enrol(service, name, planted, Path(scratch))
                report["sets"][name] = judge(service, name, planted, ids, encoders)
                print(json.dumps(report["sets"][name], indent=1), flush=True)
    options.out.mkdir(exist_ok=True)
    (options.out / "audit_planted.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "audit_planted.md").write_text(markdown(report))


def plant(folder: Path, scratch: Path, kind: str, count: int, seed: int) -> Planted:
    """The rows of a set and the planted ones, whose pictures are written to the scratch folder."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = [{**row, "path": str((folder / row["path"]).resolve())} for row in csv.DictReader(file)]
    labels = sorted(label for label, number in Counter(row[kind] for row in rows).items() if number >= 20)
    planted = Planted(rows, list(range(len(rows))), ["original"] * len(rows))
    rng = np.random.default_rng(seed)
    drawn = rng.permutation([number for number, row in enumerate(rows) if row[kind] in labels])
    for place, number in enumerate(drawn[: 4 * count].tolist()):
        what = (*COPIES, "relabelled")[place % 4]
        add_copy(planted, number, what, scratch / f"{folder.name}-{place}", rng)
        if what == "relabelled":
            mislabel(planted, len(planted.rows) - 1, kind, labels, rng)
    for number in drawn[4 * count : 4 * count + round(MISLABELLED * len(drawn))].tolist():
        planted.kinds[number] = "mislabelled"
        mislabel(planted, number, kind, labels, rng)
    return planted


def add_copy(planted: Planted, number: int, what: str, stem: Path, rng: np.random.Generator) -> None:
    """A copy of a picture as a further row."""
    row = planted.rows[number]
    form = what if what in COPIES else str(rng.choice(COPIES))
    packed = io.BytesIO()
    changed = transformed(Image.open(row["path"]), form, rng)
    changed.save(packed, "JPEG" if form == "resized" else "PNG", quality=85)
    stem.with_suffix(".img").write_bytes(packed.getvalue())
    copy = {**row, "path": str(stem.with_suffix(".img"))}
    if what == "relabelled" and row["patient_id"]:
        copy["patient_id"] = f"planted-{number}"
    planted.rows.append(copy)
    planted.roots.append(number)
    planted.kinds.append(what)


def transformed(picture: Image.Image, form: str, rng: np.random.Generator) -> Image.Image:
    """A picture as it is, resized, or cut."""
    width, height = picture.size
    if form == "resized":
        factor = rng.uniform(0.5, 0.9) if rng.random() < 0.5 else rng.uniform(1.1, 1.6)
        return picture.resize((round(width * factor), round(height * factor)), Image.Resampling.LANCZOS)
    if form == "cropped":
        left, top, right, bottom = rng.uniform(0, 0.12, 4)
        box = (round(width * left), round(height * top), round(width * (1 - right)), round(height * (1 - bottom)))
        return picture.crop(box)
    return picture


def mislabel(planted: Planted, number: int, kind: str, labels: list[str], rng: np.random.Generator) -> None:
    """Another frequent label of the kind; the group must not give the error away."""
    row = dict(planted.rows[number])
    row[kind] = str(rng.choice([label for label in labels if label != row[kind]]))
    planted.rows[number] = row
    planted.mislabelled.add(number)


def enrol(service: Service, name: str, planted: Planted, scratch: Path) -> list[str]:
    """Enrol the rows; their reference ids in order."""
    columns = ("path", "patient_id", "organ", "diagnoses")
    manifest = scratch / f"{name}.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(planted.rows)
    report = service.importer.run(name, read_manifest(manifest))
    assert not report.bad, report.bad[:3]
    return [report.ids[line] for line in sorted(report.ids)]


def judge(service: Service, name: str, planted: Planted, ids: list[str], encoders: list[str]) -> dict:
    """Figures of the audit with all encoders together and with each alone."""
    ways = {encoder: [encoder] for encoder in encoders}
    if len(encoders) > 1:
        ways["together"] = encoders
    report = {"images": planted.kinds.count("original") + planted.kinds.count("mislabelled"), "ways": {}}
    report["planted"] = dict(Counter(planted.kinds))
    for way, names in ways.items():
        audit = audit_library(service.catalogue, name, names)
        place = {key: number for number, key in enumerate(ids)}
        number_of = [place[one.id] for one in audit.ground.references]
        report["ways"][way] = {
            "duplicates": duplicate_figures(audit, planted, number_of),
            "conflicts": conflict_figures(audit, planted, number_of, SETS[name]),
            "mislabelled": mislabel_figures(audit, planted, number_of, SETS[name]),
        }
        if len(names) == 1:
            snapshot = service.shelves.snapshot(name, service.batcher.encoder(names[0]))
            vectors = np.stack([snapshot.vectors[snapshot.row_of[one.id]] for one in audit.ground.references])
            report["ways"][way]["by vectors alone"] = pair_figures(near_in_proportion(vectors), planted, number_of)
        hashes = np.asarray([int(one.fingerprint, 16) for one in audit.ground.references], np.uint64)
        report["by hash alone"] = pair_figures(set(near_by_hash(hashes, NEAR_DUPLICATE_BITS)), planted, number_of)
    return report


def duplicate_figures(audit: Audit, planted: Planted, number_of: list[int]) -> dict:
    """Recall by sort of copy and precision of what the audit calls the same picture."""
    found = {(pair.first, pair.second) for pair in audit.duplicates if pair.verdict is Verdict.SAME}
    others = other_originals(planted, {(number_of[a], number_of[b]) for a, b in found})
    print("to be looked at:", "; ".join(" ".join(pair) for pair in sorted(others)) or "none", flush=True)
    return pair_figures(found, planted, number_of)


def pair_figures(found: set[tuple[int, int]], planted: Planted, number_of: list[int]) -> dict:
    """Pairs of rows against the truth: planted ones, others of one patient, others of two patients (or unknown)."""
    pairs = {tuple(sorted((number_of[a], number_of[b]))) for a, b in found}
    recall = {}
    for what in (*COPIES, "relabelled"):
        copies = [number for number, kind in enumerate(planted.kinds) if kind == what]
        recall[what] = share(sum((planted.roots[number], number) in pairs for number in copies), len(copies))
    true = sum(planted.roots[a] == planted.roots[b] for a, b in pairs)
    own = sum(planted.roots[a] != planted.roots[b] and one_patient(planted, a, b) for a, b in pairs)
    return {
        "recall": recall,
        "pairs": len(pairs),
        "planted": true,
        "own patient": own,
        "others": len(pairs) - true - own,
        "precision": share(true, len(pairs)),
        "precision, own patient not counted": share(true, len(pairs) - own),
        "other originals": len(other_originals(planted, pairs)),
    }


def other_originals(planted: Planted, pairs: set[tuple[int, int]]) -> set[tuple[str, str]]:
    """The originals behind pairs that were not planted and are not known to be of one patient, to be looked at."""
    roots = {tuple(sorted((planted.roots[a], planted.roots[b]))) for a, b in pairs if not one_patient(planted, a, b)}
    return {(Path(planted.rows[a]["path"]).stem, Path(planted.rows[b]["path"]).stem) for a, b in roots if a != b}


def one_patient(planted: Planted, first: int, second: int) -> bool:
    """Whether two pictures are of one patient by the names of their originals."""
    one, other = (planted.rows[planted.roots[number]]["patient_id"] for number in (first, second))
    return bool(one) and SAME_PATIENT.get(one, one) == SAME_PATIENT.get(other, other)


def conflict_figures(audit: Audit, planted: Planted, number_of: list[int], kind: str) -> dict:
    """Pairs that the audit calls one picture under different labels of the kind, against the relabelled copies."""
    pairs = {
        tuple(sorted((number_of[one.pair.first], number_of[one.pair.second])))
        for one in real_conflicts(audit)
        if kind in one.about
    }
    copies = [number for number, what in enumerate(planted.kinds) if what == "relabelled"]
    true = sum(planted.roots[a] == planted.roots[b] for a, b in pairs)
    return {
        "recall": share(sum((planted.roots[number], number) in pairs for number in copies), len(copies)),
        "precision": share(true, len(pairs)),
    }


def mislabel_figures(audit: Audit, planted: Planted, number_of: list[int], kind: str) -> dict:
    """The ranked contradictions against all wrong labels that were planted."""
    ranked = [number_of[one.row] for one in audit.contradictions[kind]]
    wrong = planted.mislabelled
    hits = np.asarray([number in wrong for number in ranked])
    first = hits[: len(wrong)]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return {
        "wrong labels": len(wrong),
        "share of all": round(len(wrong) / len(planted.rows), 4),
        "contradicted": len(ranked),
        "precision of the first n": share(int(first.sum()), len(wrong)),
        "recall in the first 2n": share(int(hits[: 2 * len(wrong)].sum()), len(wrong)),
        "recall in all": share(int(hits.sum()), len(wrong)),
        "average precision": round(float(precision[hits].sum() / len(wrong)), 3),
    }


def near_in_proportion(vectors: np.ndarray) -> set[tuple[int, int]]:
    """Pairs nearer than a share of the distance to the tenth neighbour, by both."""
    squares = np.maximum(0, 2 - 2 * (vectors.astype(np.float64) @ vectors.T))
    distances = np.sqrt(squares)
    tenth = np.sort(distances, axis=1)[:, 10]
    first, second = np.nonzero(np.triu(distances <= NEAREST * np.minimum(tenth[:, None], tenth[None]), 1))
    return set(zip(first.tolist(), second.tolist(), strict=True))


def share(part: int, whole: int) -> dict:
    """A proportion with its 95 % interval (Wilson 1927); images are drawn without repetition, so draws are apart."""
    if not whole:
        return {"part": part, "of": whole, "share": None, "low": None, "high": None}
    interval = binomtest(part, whole).proportion_ci(method="wilson")
    numbers = {"share": part / whole, "low": interval.low, "high": interval.high}
    return {"part": part, "of": whole, **{name: round(float(value), 3) for name, value in numbers.items()}}


def markdown(report: dict) -> str:
    """The figures as tables."""
    lines = [
        "Planted errors found by `sonoseek audit`; shares with 95 % Wilson intervals. Thresholds were chosen on early,",
        f"hc18 and lung; judged here are {' and '.join(report['sets'])}. Seed {report['seed']}.",
        "",
        "Same picture twice. Precision counts planted pairs only as right; in the last column pairs of one patient",
        "that were not planted are not counted (names tell the patient in fetal; breast has none).",
        "",
        "| set | way | exact | resized | cropped | relabelled copy | pairs | precision | without own patient |",
        "| --- | --- | --- | --- | --- | --- | ---: | --- | --- |",
    ]
    for name, one in report["sets"].items():
        ways = {"hash alone": one["by hash alone"]}
        for way, figures in one["ways"].items():
            if "by vectors alone" in figures:
                ways[f"{way}, vectors alone"] = figures["by vectors alone"]
            ways[f"audit, {way}"] = figures["duplicates"]
        lines += [f"| {name} | {way} | {pair_cells(figures)} |" for way, figures in ways.items()]
    lines += ["", "The same picture under another label (relabelled copies).", ""]
    lines += ["| set | encoder | recall | precision |", "| --- | --- | --- | --- |"]
    for name, one in report["sets"].items():
        for way, figures in one["ways"].items():
            conflicts = figures["conflicts"]
            lines.append(f"| {name} | {way} | {text(conflicts['recall'])} | {text(conflicts['precision'])} |")
    lines += [
        "",
        "Wrong labels (mislabelled originals and relabelled copies, n in all) among references contradicted by their",
        "neighbours. resnet-us was trained on these images with their right labels: its figures flatter.",
        "",
        "| set | encoder | n | share of all | contradicted | precision of the first n | recall in the first 2n "
        "| recall in all | average precision |",
        "| --- | --- | ---: | ---: | ---: | --- | --- | --- | ---: |",
    ]
    for name, one in report["sets"].items():
        for way, figures in one["ways"].items():
            wrong = figures["mislabelled"]
            lines.append(
                f"| {name} | {way} | {wrong['wrong labels']} | {wrong['share of all']:.3f} | {wrong['contradicted']} "
                f"| {text(wrong['precision of the first n'])} | {text(wrong['recall in the first 2n'])} "
                f"| {text(wrong['recall in all'])} | {wrong['average precision']:.2f} |"
            )
    return "\n".join(lines) + "\n"


def pair_cells(figures: dict) -> str:
    recalls = " | ".join(text(figures["recall"][what]) for what in (*COPIES, "relabelled"))
    alone = text(figures["precision, own patient not counted"])
    return f"{recalls} | {figures['pairs']} | {text(figures['precision'])} | {alone}"


def text(one: dict) -> str:
    if one["share"] is None:
        return "none"
    return f"{one['share']:.3f} ({one['low']:.3f} to {one['high']:.3f})"


if __name__ == "__main__":
    main()
