"""The encoder kinds by name; each is imported when an encoder of its kind is opened."""

from collections.abc import Callable
from importlib import import_module

from app.encoders.base import Encoder
from app.encoders.weights import WeightsFolder, WeightStore
from app.errors import Misconfigured

KINDS = {
    "resnet": ("app.encoders.resnet", "open_resnet"),
}


def open_encoder(name: str, store: WeightStore) -> Encoder:
    """Load the named encoder with its verified weights; raises NotFound or Misconfigured."""
    found = store.find(name)
    kind = found.manifest.kind
    if kind not in KINDS:
        raise Misconfigured(
            "unknown_encoder_kind",
            f"encoder {name!r} is of the kind {kind!r}, which this version does not know",
            hint=f"kinds are: {', '.join(KINDS)}",
        )
    module, function = KINDS[kind]
    opener: Callable[[WeightsFolder], Encoder] = getattr(import_module(module), function)
    return opener(found)
