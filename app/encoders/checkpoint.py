"""Reading official checkpoint files: tensors only, every key and shape checked."""

from __future__ import annotations

import pickle
import warnings
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from app.errors import BadInput, Misconfigured

_ZIP, _PICKLE = b"P", b"\x80"  # the first byte of a container, new and old
_SHOWN = 8  # keys named in an error

_met: ContextVar[set[str] | None] = ContextVar("met", default=None)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What ``torch.save`` or safetensors wrote; only tensors, plain containers and ``Namespace`` are unpickled.

    Raises BadInput ``unsafe_checkpoint`` for a pickle that wants to run code, ``not_a_checkpoint`` for
    what is no such file or is cut short.
    """
    try:
        content = dict(load_file(path)) if path.suffix == ".safetensors" else _unpickle(path)
    except BadInput:
        raise
    except pickle.UnpicklingError as error:
        raise _unpickling_problem(path, error) from None
    except Exception as error:  # a damaged file may fail anywhere in there: IndexError, struct.error and so on
        raise _not_a_checkpoint(path, type(error).__name__) from None
    if not isinstance(content, dict):
        raise _not_a_checkpoint(path, f"it holds a {type(content).__name__}")
    if not _all_named(content):
        raise _not_a_checkpoint(path, "not all that it holds has a name")
    return content


def state_dict(path: Path, content: Mapping[str, Any], *keys: str) -> dict[str, Tensor]:
    """The tensors under some nested keys of a checkpoint; raises BadInput ``not_a_checkpoint``."""
    inner: Any = content
    for key in keys:
        if not isinstance(inner, Mapping) or key not in inner:
            raise _not_a_checkpoint(path, f"it has no entry {key!r}")
        inner = inner[key]
    if not isinstance(inner, Mapping) or not all(isinstance(value, Tensor) for value in inner.values()):
        raise _not_a_checkpoint(path, "it holds more than tensors")
    if not _all_named(inner):
        raise _not_a_checkpoint(path, "not all tensors have a name")
    _refuse_unusable(path, inner)
    return dict(inner)


@contextmanager
def noted_types() -> Iterator[set[str]]:
    """The floating types other than float32 of all tensors that are taken as float32 inside the block."""
    met: set[str] = set()
    token = _met.set(met)
    try:
        yield met
    finally:
        _met.reset(token)


def as_float32(tensor: Tensor) -> Tensor:
    """A floating tensor as float32; another type is noted."""
    met = _met.get()
    if met is not None and tensor.dtype != torch.float32:
        met.add(_type_name(tensor))
    return tensor.float()


def check_layout(
    tensors: Mapping[str, Tensor], network: nn.Module, what: str, unused: frozenset[str] = frozenset()
) -> dict[str, Tensor]:
    """The tensors that a network takes, as float32; raises BadInput ``wrong_checkpoint`` and names what differs.

    Every tensor must be there with its shape and a floating type, and none beside those in ``unused``.
    """
    expected = network.state_dict()
    missing = [key for key in expected if key not in tensors]
    unexpected = [key for key in tensors if key not in expected and key not in unused]
    odd = [
        f"{key} is {tuple(tensors[key].shape)} {_type_name(tensors[key])}, not {_wanted(tensors[key], value)}"
        for key, value in expected.items()
        if key in tensors and (tensors[key].shape != value.shape or not tensors[key].is_floating_point())
    ]
    faults = named_faults({"missing": missing, "unexpected": unexpected, "other shape or type": odd})
    if faults:
        raise BadInput(
            "wrong_checkpoint",
            f"the file does not hold the weights of {what}; {faults}",
            hint="take the official file that belongs to this name: docs/models.md lists them",
        )
    return {key: as_float32(tensors[key]) for key in expected}


def fill(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a blank network its tensors; raises Misconfigured ``bad_weights`` where they are not all of its own."""
    try:
        network.load_state_dict(dict(tensors), strict=True, assign=True)
    except RuntimeError:
        raise Misconfigured(
            "bad_weights",
            "the weight file does not hold the tensors of the network that its manifest describes",
            hint="install the weights again: sonoseek models fetch NAME, or sonoseek models add NAME PATH",
        ) from None


def named_faults(faults: Mapping[str, list[str]]) -> str:
    """Which keys are at fault, in words: the first of each kind, and how many more; empty where none is."""
    return "; ".join(f"{label}: {_some(keys)}" for label, keys in faults.items() if keys)


def _wanted(tensor: Tensor, like: Tensor) -> str:
    return f"{tuple(like.shape)}{'' if tensor.is_floating_point() else ' of floating point'}"


def _type_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _refuse_unusable(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Sparse tensors, and those of the meta device, which have a shape and no numbers."""
    odd = [
        f"{key} ({'meta' if tensor.is_meta else str(tensor.layout).removeprefix('torch.')})"
        for key, tensor in tensors.items()
        if tensor.is_meta or tensor.layout != torch.strided
    ]
    if odd:
        raise BadInput(
            "unusable_tensors",
            f"not all tensors of {path.name} are plain arrays of numbers: {_some(odd)}",
            hint="take the official file; docs/models.md lists them",
        )


def _all_named(content: Mapping[Any, Any]) -> bool:
    return all(isinstance(key, str) for key in content)


def _unpickle(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    with path.open("rb") as file:
        if file.read(1) not in (_ZIP, _PICKLE):
            raise _not_a_checkpoint(path, "it begins like no such file")  # a proxy's page, for one
    # Namespace: the arguments of a training run, which some official files (SynCLR) hold beside the tensors.
    quiet = warnings.catch_warnings(action="ignore")  # of old containers and odd pickle protocols
    with quiet, torch.serialization.safe_globals([Namespace]):
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # containers from before torch 1.6 cannot be mapped
            return torch.load(path, map_location="cpu", weights_only=True)


def _unpickling_problem(path: Path, error: pickle.UnpicklingError) -> BadInput:
    if "Unsupported" in str(error) or "Weights only load failed" in str(error):
        return BadInput(
            "unsafe_checkpoint",
            f"{path.name} is a pickle with more than tensors in it; nothing of it was run",
            hint="take the official file; a full training checkpoint cannot be used",
        )
    return _not_a_checkpoint(path, type(error).__name__)


def _not_a_checkpoint(path: Path, why: str) -> BadInput:
    return BadInput(
        "not_a_checkpoint",
        f"{path.name} is no checkpoint file, or not a whole one ({why})",
        hint="compare its size with that of the official file, and fetch it again",
    )


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more
