"""The encoder kinds by name; each is imported when an encoder of its kind is opened or installed."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from app.encoders.base import Encoder
from app.encoders.manifest import EncoderManifest
from app.encoders.weights import WeightsFolder, WeightStore
from app.errors import Misconfigured

if TYPE_CHECKING:
    from torch import Tensor

    from app.encoders.device import Placement


class Kind(NamedTuple):
    """A module and its functions: one opens an encoder, and those that may be missing.

    ``open(folder: WeightsFolder, placement: Placement) -> Encoder``;
    ``convert(manifest: EncoderManifest, files: Mapping[str, Path]) -> Mapping[str, Tensor]`` with the
    paths of the manifest's source files by their official names; ``layout(manifest: EncoderManifest) ->
    Mapping[str, Tensor]``, the tensors that are served, on torch's ``meta`` device. ``fp32_only``: it
    computes in fp32 whatever the placement says.
    """

    module: str
    open: str
    convert: str | None = None
    layout: str | None = None
    fp32_only: bool = False


KINDS = {
    "resnet": Kind("app.encoders.resnet", "open_resnet", fp32_only=True),
    "dino": Kind("app.encoders.dino", "open_dino", "convert_dino", "layout_dino"),
    "sam2": Kind("app.encoders.sam2", "open_sam2", "convert_sam2", "layout_sam2"),
    "dreamsim": Kind("app.encoders.dreamsim", "open_dreamsim", "convert_dreamsim", "layout_dreamsim"),
    "huggingface": Kind("app.encoders.huggingface", "open_huggingface", "convert_huggingface"),
    "openclip": Kind("app.encoders.openclip", "open_openclip", "convert_openclip", "layout_openclip"),
    "dino-package": Kind("app.encoders.original", "open_original", "convert_original", fp32_only=True),
    "sam2-package": Kind("app.encoders.original", "open_original", "convert_original", fp32_only=True),
    "dreamsim-package": Kind("app.encoders.original", "open_original", "convert_original", fp32_only=True),
}


def open_encoder(name: str, store: WeightStore, placement: "Placement | None" = None) -> Encoder:
    """Load the named encoder with its verified weights; raises NotFound or Misconfigured."""
    return open_folder(store.find(name), placement)


def open_folder(found: WeightsFolder, placement: "Placement | None" = None) -> Encoder:
    """Load the encoder of a folder with its verified weights; raises Misconfigured."""
    from app.encoders.device import choose_placement

    opener: Callable[[WeightsFolder, Placement], Encoder] = _function(found.manifest, _kind(found.manifest).open)
    return opener(found, placement or choose_placement())


def served_precision(manifest: EncoderManifest, precision: str) -> str:
    """The precision in which an encoder is served where others are served in a given one."""
    kind = KINDS.get(manifest.kind)
    return "fp32" if kind is not None and kind.fp32_only else precision


def convert(manifest: EncoderManifest, files: Mapping[str, Path]) -> "Mapping[str, Tensor]":
    """The tensors that are served, from the official files; raises BadInput or Misconfigured."""
    name = _kind(manifest).convert
    if name is None:
        raise Misconfigured(
            "not_installable",
            f"encoders of the kind {manifest.kind!r} are not made from official files",
            hint="train one with sonoseek train, or copy its folder into SONOSEEK_MODELS",
        )
    converter: Callable[[EncoderManifest, Mapping[str, Path]], Mapping[str, Tensor]] = _function(manifest, name)
    return converter(manifest, files)


def layout(manifest: EncoderManifest) -> "Mapping[str, Tensor]":
    """Name, shape and type of the tensors that are served, without their memory; raises Misconfigured."""
    name = _kind(manifest).layout
    if name is None:
        raise Misconfigured(
            "unknown_layout",
            f"what encoders of the kind {manifest.kind!r} consist of is known from their weights only",
            hint="install the weights first",
        )
    function: Callable[[EncoderManifest], Mapping[str, Tensor]] = _function(manifest, name)
    return function(manifest)


def _function(manifest: EncoderManifest, name: str) -> Any:  # noqa: ANN401 - each caller knows its type
    return getattr(import_module(_kind(manifest).module), name)


def _kind(manifest: EncoderManifest) -> Kind:
    if manifest.kind not in KINDS:
        raise Misconfigured(
            "unknown_encoder_kind",
            f"encoder {manifest.name!r} is of the kind {manifest.kind!r}, which this version does not know",
            hint=f"kinds are: {', '.join(KINDS)}",
        )
    return KINDS[manifest.kind]
