"""What a wide sector loses in the official centre crop: the same weights with crop, pad and stretch.

python benchmarks/fit_pad_crop.py MANIFEST MODELS ENCODER [--json FILE]

MODELS is a folder of installed weights and ENCODER one of its names, such as benchmarks/trained_dinov2.py makes.
Prints, per fit, how many of the ten nearest images of other patients show the query's organ, with intervals by
patient, and the differences to the official fit, paired by query.
"""

import argparse
import json
import secrets
from pathlib import Path

import numpy as np

from app.encoders.base import embed
from app.encoders.device import choose_placement
from app.encoders.registry import open_folder
from app.encoders.weights import WeightsFolder, WeightStore
from app.images.deidentify import Keyer
from app.images.reader import ReadLimits, read_frame
from app.library.manifest import read_manifest
from app.metrics.precision import bootstrap_interval, precision_at_k

FITS = ("crop", "pad", "stretch")


def main() -> None:
    """Embed with every fit and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("models", type=Path)
    parser.add_argument("encoder")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = read_manifest(options.manifest).rows
    keyer = Keyer(secrets.token_bytes(32))
    frames = [read_frame(row.path.read_bytes(), keyer=keyer, limits=ReadLimits(), region=row.region) for row in rows]
    organs = [row.labels.organ for row in rows]
    patients = [row.patient_id or row.path.name for row in rows]
    found = WeightStore(options.models).find(options.encoder)
    figures = {fit: precision_at_k(vectors(found, fit, frames), organs, patients) for fit in FITS}
    result = {
        "encoder": options.encoder,
        "images": len(frames),
        "lost_by_crop": round(float(np.median([lost_by_crop(frame.pixels.shape) for frame in frames])), 3),
        "chance": round(figures["crop"].chance, 3),
        "fits": {fit: describe(figure, figures["crop"], organs) for fit, figure in figures.items()},
    }
    report(result, sorted(set(organs)))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def vectors(found, fit, frames):
    """The embeddings of all frames when they are prepared with a fit."""
    changed = found.manifest.model_copy(update={"preprocess": {**found.manifest.preprocess, "fit": fit}})
    encoder = open_folder(WeightsFolder(found.folder, changed), choose_placement("cpu", "fp32"))
    return np.concatenate([embed(encoder, frames[start : start + 8]) for start in range(0, len(frames), 8)])


def lost_by_crop(shape):
    """The share of a frame that resize 256 and a centre crop of 224 leave out."""
    short, long = sorted(shape[:2])
    return 1 - (224 / 256) ** 2 * short / long


def describe(figure, official, organs):
    """Mean and interval by patient, the paired difference to the official fit, and the mean per organ."""
    difference = figure.matches - official.matches
    names = np.asarray(organs)
    return {
        "mean": round(figure.mean, 3),
        "interval": [round(value, 3) for value in figure.interval()],
        "difference": round(float(difference.mean()), 3),
        "difference_interval": [round(value, 3) for value in bootstrap_interval(difference, figure.groups)],
        "organs": {organ: round(float(figure.matches[names == organ].mean()), 2) for organ in sorted(set(organs))},
    }


def report(result, organs):
    print(f"{result['encoder']}, {result['images']} images; the crop leaves out {result['lost_by_crop']:.0%} of the")
    print(f"median frame; same organ among ten, own patient left out, by chance {result['chance']:.2f}\n")
    print(f"| fit | mean (95 %) | against crop, paired (95 %) | {' | '.join(organs)} |")
    print("| --- " * (3 + len(organs)) + "|")
    for fit, row in result["fits"].items():
        low, high = row["interval"]
        under, over = row["difference_interval"]
        means = " | ".join(f"{row['organs'][organ]:.2f}" for organ in organs)
        print(
            f"| {fit} | {row['mean']:.2f} ({low:.2f} to {high:.2f}) "
            f"| {row['difference']:+.2f} ({under:+.2f} to {over:+.2f}) | {means} |"
        )


if __name__ == "__main__":
    main()
