"""From labelled manifests to the folder of an encoder: what ``sonoseek train`` does."""

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save

from app.domain import Box, Pixels
from app.encoders.device import use_threads
from app.encoders.preprocess import Preprocess
from app.encoders.resnet import WIDTHS, ResNetUS
from app.encoders.training_list import write_training_list
from app.images.deidentify import Keyer
from app.images.reader import read_frame
from app.training.data import (
    Progress,
    Sample,
    TrainingSet,
    file_checksums,
    load_squares,
    read_manifests,
    training_set,
)
from app.training.fit import Fitted, Schedule, fit

PREPROCESS = Preprocess(size=160, fit="pad", mean=0.2, std=0.2)
CACHE_SIDE = 192
"""Side of the squares kept for training: crops of them are seldom enlarged."""

NAME = "resnet-us"


@dataclass(frozen=True, slots=True)
class Trained:
    """What came out: the folder, the number of pictures, the classes of both heads, the loss every 50 steps."""

    folder: Path
    pictures: int
    organs: tuple[str, ...]
    groups: tuple[str, ...]
    losses: tuple[float, ...]


def train_resnet(
    sources: Sequence[Path],
    out: Path,
    *,
    seed: int = 0,
    schedule: Schedule | None = None,
    threads: int = 0,
    progress: Progress = lambda stage, done, of: None,
) -> Trained:
    """Train ``resnet-us`` on manifests (csv) and write it into the folder ``out``.

    That is weights, manifest.toml and training.txt, the sha256 of every picture's file: so an evaluation can say
    whether the encoder has seen what it is judged on.

    The same arguments give the same weights on the same machine; ``threads`` is one of them (0: every core), since
    sums of float32 depend on how many share them.
    """
    use_threads(threads)
    plan = schedule or Schedule()
    samples = read_manifests(sources)
    checksums = file_checksums(samples)
    data = read_training_set(samples, progress)
    fitted = fit(data, PREPROCESS, seed=seed, schedule=plan, progress=progress)
    facts = _training_facts(sources, data, fitted, seed, plan)
    write_encoder(fitted.network, out, facts, checksums)
    return Trained(out, len(data), data.organs, data.groups, fitted.losses)


def read_training_set(samples: Sequence[Sample], progress: Progress) -> TrainingSet:
    """All pictures as the service reads them, in memory."""
    square = PREPROCESS.model_copy(update={"size": CACHE_SIDE}).square
    return training_set(samples, load_squares(samples, service_reader(), square, progress))


def service_reader() -> Callable[[bytes, int | None, Box | None], Pixels]:
    """Reads bytes as the service does: decoded, cropped to the scan region, blanked outside."""
    # Only pixels are kept, so the key of the hashed identities may be any.
    keyer = Keyer(secrets.token_bytes(32))

    def read(data: bytes, frame: int | None, region: Box | None) -> Pixels:
        return read_frame(data, keyer=keyer, frame=frame, region=region).pixels

    return read


def write_encoder(network: ResNetUS, folder: Path, facts: Mapping[str, object], checksums: Sequence[str]) -> None:
    """Write the weights as safetensors, the list of what they were trained on, and the manifest that names both."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})
    (folder / f"{NAME}.safetensors").write_bytes(tensors)
    top: dict[str, object] = {
        "name": NAME,
        "kind": "resnet",
        "dim": WIDTHS[-1],
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "licence": "Apache-2.0",
        "description": "A small residual network trained on labelled ultrasound pictures",
    }
    trained_on = {**facts, **write_training_list(folder, checksums)}
    weights = {"file": f"{NAME}.safetensors", "sha256": hashlib.sha256(tensors).hexdigest()}
    tables = {"weights": weights, "preprocess": PREPROCESS.model_dump(), "training": trained_on}
    (folder / "manifest.toml").write_text(_toml(top, tables), encoding="utf-8")


def _training_facts(
    sources: Sequence[Path], data: TrainingSet, fitted: Fitted, seed: int, schedule: Schedule
) -> dict[str, object]:
    """What the weights were trained on and how, for the manifest's readers."""
    return {
        "sources": [source.parent.name for source in sources],
        "pictures": len(data),
        "organs": list(data.organs),
        "groups": list(data.groups),
        "seed": seed,
        **asdict(schedule),
        "first_loss": round(fitted.losses[0], 4),
        "last_loss": round(fitted.losses[-1], 4),
        "torch": torch.__version__,
    }


def _toml(top: Mapping[str, object], tables: Mapping[str, Mapping[str, object]]) -> str:
    """A TOML document of plain values: those without a table, then each table."""
    blocks = [_lines(top), *(f"[{name}]\n{_lines(table)}" for name, table in tables.items())]
    return "\n\n".join(blocks) + "\n"


def _lines(table: Mapping[str, object]) -> str:
    """``key = value`` lines; JSON writes strings, numbers and flat lists as TOML does."""
    return "\n".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items())
