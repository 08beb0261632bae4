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
    from app.encoders.device import Placement


class Kind(NamedTuple):
    """A module, its function that opens an encoder, and the one that reads the official files, if it has one.

    ``open(folder: WeightsFolder, placement: Placement) -> Encoder``;
    ``convert(manifest: EncoderManifest, files: Mapping[str, Path]) -> Mapping[str, Tensor]`` with the
    paths of the manifest's source files by their official names.
    """

    module: str
    open: str
    convert: str | None = None


KINDS = {
    "resnet": Kind("app.encoders.resnet", "open_resnet"),
    "dino": Kind("app.encoders.dino", "open_dino", "convert_dino"),
}


def open_encoder(name: str, store: WeightStore, placement: "Placement | None" = None) -> Encoder:
    """Load the named encoder with its verified weights; raises NotFound or Misconfigured."""
    from app.encoders.device import choose_placement

    found = store.find(name)
    kind = _kind(found.manifest)
    opener: Callable[[WeightsFolder, Placement], Encoder] = getattr(import_module(kind.module), kind.open)
    return opener(found, placement or choose_placement())


def convert(manifest: EncoderManifest, files: Mapping[str, Path]) -> Mapping[str, Any]:
    """The tensors that are served, from the official files; raises BadInput or Misconfigured."""
    kind = _kind(manifest)
    if kind.convert is None:
        raise Misconfigured(
            "not_installable",
            f"encoders of the kind {manifest.kind!r} are not made from official files",
            hint="train one with sonoseek train, or copy its folder into SONOSEEK_MODELS",
        )
    converter: Callable[[EncoderManifest, Mapping[str, Path]], Mapping[str, Any]] = getattr(
        import_module(kind.module), kind.convert
    )
    return converter(manifest, files)


def _kind(manifest: EncoderManifest) -> Kind:
    if manifest.kind not in KINDS:
        raise Misconfigured(
            "unknown_encoder_kind",
            f"encoder {manifest.name!r} is of the kind {manifest.kind!r}, which this version does not know",
            hint=f"kinds are: {', '.join(KINDS)}",
        )
    return KINDS[manifest.kind]
