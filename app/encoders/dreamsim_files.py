"""DreamSim's official files: the zip, whose members are read by name, and the backbones beside it."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from torch import Tensor

from app.encoders.checkpoint import read_checkpoint, state_dict
from app.errors import BadInput, Misconfigured

_MOST_BYTES = 4 << 30  # of one member: many times what any official one has
_MOST_JSON = 1 << 20
_ENCRYPTED = 1
_CONFIG = "adapter_config.json"
_ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")


class Base(NamedTuple):
    """Where the backbone of a branch stands: a file, the keys that lead to its tensors, a prefix of their names."""

    file: str
    keys: tuple[str, ...] = ()
    prefix: str = ""


BASES = {
    "dino_vitb16": Base("dino_vitbase16_pretrain.pth"),
    "dinov2_vitb14": Base("dinov2_vitb14_pretrain.pth"),
    "clip_vitb16": Base("clip_vitb16_pretrain.pth.tar", ("state_dict",)),
    "clip_vitb32": Base("clip_vitb32_pretrain.pth.tar", ("state_dict",)),
    "open_clip_vitb16": Base("open_clip_vitb16_pretrain.pth.tar", ("state_dict",)),
    "open_clip_vitb32": Base("open_clip_vitb32_pretrain.pth.tar", ("state_dict",)),
    "synclr_vitb16": Base("synclr_vit_b_16.pth", ("model",), "module.visual."),
}
"""Branch -> backbone: a file of its own where the manifest's sources name it, else a member of the zip.

The zip's ``dino_vitb16_pretrain.pth`` is none of them: it holds a projection head that no embedding uses.
"""


_FOLDERS = ("ensemble_lora", *(f"{branch}_{kind}_lora" for branch in BASES for kind in ("single", "patch")))
_READ_BY_PACKAGE = frozenset(
    {
        "dino_vitb16_pretrain.pth",
        *(base.file for base in BASES.values()),
        *(f"{folder}/{name}" for folder in _FOLDERS for name in (*_ADAPTERS, _CONFIG)),
    }
)


class OfficialFiles:
    """The files that one encoder is made from.

    A member is copied under a name of ours into a scratch folder before it is read, so whatever stands in its
    own name leads nowhere.
    """

    def __init__(self, files: Mapping[str, Path], archive: zipfile.ZipFile, scratch: Path) -> None:
        self._files = files
        self._zip = archive
        self._scratch = scratch
        self._members = set(archive.namelist())

    def base(self, branch: str) -> dict[str, Tensor]:
        """The tensors of a branch's backbone under its official names; raises BadInput or Misconfigured."""
        base = BASES[branch]
        path = self._files.get(base.file) or self._copied(base.file)
        tensors = state_dict(path, read_checkpoint(path), *base.keys)
        named = {key.removeprefix(base.prefix): tensor for key, tensor in tensors.items()}
        if "proj" in named:  # a matrix that tokens are multiplied with, where a linear layer keeps its transpose
            named["proj.weight"] = named.pop("proj").T
        return named

    def adapter(self, folder: str) -> tuple[bytes, dict[str, Tensor]]:
        """The configuration and the tensors of an adapter; raises BadInput or Misconfigured."""
        self._refuse_old_layout(folder)
        found = next((name for name in _ADAPTERS if f"{folder}/{name}" in self._members), _ADAPTERS[0])
        path = self._copied(f"{folder}/{found}")
        config = self._copied(f"{folder}/{_CONFIG}", _MOST_JSON).read_bytes()
        return config, state_dict(path, read_checkpoint(path))

    def _refuse_old_layout(self, folder: str) -> None:
        others = [name for name in self._members if name.endswith(f"/{_CONFIG}") and name != f"{folder}/{_CONFIG}"]
        if others and f"{folder}/{_CONFIG}" not in self._members:
            raise BadInput(
                "other_dreamsim",
                f"the zip has no {folder}/{_CONFIG} but {sorted(others)[0]!r}: it belongs to another encoder, "
                "or to DreamSim 0.1, whose adapters are scaled otherwise",
                hint="take the zip of release v0.2.0 or later that belongs to this name: docs/models.md lists them",
            )

    def _copied(self, member: str, most: int = _MOST_BYTES) -> Path:
        """One member as a file of ours, with the ending that says how to read it."""
        if member not in self._members:
            raise BadInput(
                "part_missing",
                f"the DreamSim zip lacks {member}",
                hint="take the official zip that belongs to this name, as it was published",
            )
        path = self._scratch / Path(member).name
        self._copy(member, path, most)
        return path

    def copy_for_package(self, folder: Path) -> None:
        """Put the members that the authors' package may read into a folder, under their own names.

        All but the configurations are read once before, so that nothing but tensors comes there. Raises BadInput
        or Misconfigured.
        """
        for member in sorted(self._members & _READ_BY_PACKAGE):
            path = folder / member
            path.parent.mkdir(exist_ok=True)
            is_config = path.name == _CONFIG
            self._copy(member, path, _MOST_JSON if is_config else _MOST_BYTES)
            if not is_config:
                read_checkpoint(path)

    def _copy(self, member: str, path: Path, most: int) -> None:
        facts = self._zip.getinfo(member)
        if facts.file_size > most or facts.flag_bits & _ENCRYPTED:
            raise _no_zip(f"{member} is encrypted, or larger than any official file")
        with self._zip.open(member) as source, _writing(path) as target:
            shutil.copyfileobj(source, target, 1 << 20)


@contextmanager
def open_official(files: Mapping[str, Path]) -> Iterator[OfficialFiles]:
    """The official files, opened; raises BadInput ``not_a_zip`` for an archive that cannot be read."""
    path = next(path for name, path in files.items() if name.endswith(".zip"))
    with _scratch_folder() as scratch:
        try:
            with zipfile.ZipFile(path) as archive:
                yield OfficialFiles(files, archive, Path(scratch))
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise _no_zip(str(error) or type(error).__name__) from None


def _scratch_folder() -> tempfile.TemporaryDirectory[str]:
    try:
        # Where a file cannot be removed yet since tensors are mapped from it, that is not minded.
        return tempfile.TemporaryDirectory(prefix="sonoseek-", ignore_cleanup_errors=True)
    except OSError as error:
        raise _no_room(error) from error


@contextmanager
def _writing(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("wb") as file:
            yield file
    except OSError as error:
        raise _no_room(error) from error


def _no_room(error: OSError) -> Misconfigured:
    return Misconfigured(
        "no_scratch_room",
        f"the temporary folder does not take a member of the zip ({type(error).__name__})",
        hint="set TMPDIR to a folder with 2 GB of room",
    )


def _no_zip(why: str) -> BadInput:
    return BadInput(
        "not_a_zip",
        f"the DreamSim zip cannot be read, or is not whole: {why}",
        hint="compare its size with that of the official file, and fetch it again",
    )
