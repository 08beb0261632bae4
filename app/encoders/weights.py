"""Where weights lie: the folder that ships with the code, and the store of what a user installed."""

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import app
from app.encoders.manifest import MANIFEST, EncoderManifest, WeightsFile, read_manifest, write_manifest
from app.encoders.partial_file import alone
from app.errors import BadInput, Conflict, Misconfigured, NotFound

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 1 << 20
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

# Folders on their way, all hidden, so that nobody finds an encoder in them: one that is being written, one that
# a new one takes the place of, one that is being deleted.
_ON_THE_WAY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.(?P<what>new|old|gone)")

_LOCK_WAIT_S = 600.0
"""How long a process waits while another writes into the store: minutes for the largest encoders."""


def shipped_models() -> Path:
    """The read-only ``models/`` of this installation: inside the wheel, else beside ``app/``."""
    package = Path(app.__file__).parent
    inside = package / "shipped_models"
    return inside if inside.is_dir() else package.parent / "models"


def sha256_of(path: Path) -> str:
    """The sha256 (hex) of a file of any size."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class WeightsFolder:
    """One encoder's folder with its manifest."""

    folder: Path
    manifest: EncoderManifest

    @property
    def installed(self) -> bool:
        """Whether the tensors are there."""
        return self.manifest.weights is not None and (self.folder / self.manifest.weights.file).is_file()

    def verified_file(self) -> Path:
        """The file with the tensors, its sha256 checked; raises Misconfigured where it is missing or changed."""
        name, weights = self.manifest.name, self.manifest.weights
        if weights is None or not self.installed:
            raise Misconfigured(
                "weights_missing",
                f"the weights of encoder {name!r} are not installed",
                hint=f"run: sonoseek models fetch {name}, or without internet: sonoseek models add {name} PATH",
            )
        if sha256_of(self.folder / weights.file) != weights.sha256:
            raise Misconfigured(
                "weights_changed",
                f"the weights of encoder {name!r} are not those of its manifest (sha256 differs)",
                hint=f"install them again: sonoseek models add {name} PATH",
            )
        return self.folder / weights.file

    def tensors(self) -> "dict[str, Tensor]":
        """The verified tensors by name, mapped from the file and not yet read."""
        from safetensors.torch import load_file

        return load_file(self.verified_file())


class WeightStore:
    """Finds encoders by name, first among the installed, then among the shipped."""

    def __init__(self, installed: Path, shipped: Path | None = None) -> None:
        self._installed = installed
        self._roots = [installed, shipped or shipped_models()]

    def names(self) -> list[str]:
        """All encoders that have a manifest, in order."""
        self._put_back()
        found = {path.parent.name for root in self._roots for path in root.glob(f"*/{MANIFEST}")}
        return sorted(name for name in found if not name.startswith("."))

    def find(self, name: str) -> WeightsFolder:
        """The folder of one encoder; raises NotFound ``unknown_encoder``."""
        if name in self.names():
            folder = next(root / name for root in self._roots if (root / name / MANIFEST).is_file())
            return WeightsFolder(folder, read_manifest(folder))
        raise NotFound(
            "unknown_encoder",
            "there is no encoder of that name",
            hint=f"encoders are: {', '.join(self.names()) or 'none'}",
        )

    def broken(self) -> dict[str, Misconfigured]:
        """The names whose manifest cannot be read, and why."""
        faults: dict[str, Misconfigured] = {}
        for name in self.names():
            try:
                self.find(name)
            except Misconfigured as error:
                faults[name] = error
        return faults

    def is_shipped(self, name: str) -> bool:
        """Whether a manifest of that name came with the code."""
        return name in {path.parent.name for path in self._roots[-1].glob(f"*/{MANIFEST}")}

    def recipe(self, name: str) -> EncoderManifest:
        """The manifest to install a name by: the shipped one, else that of an earlier installation.

        Raises NotFound ``unknown_encoder``.
        """
        return read_manifest(self._roots[-1] / name) if self.is_shipped(name) else self.find(name).manifest

    def install(
        self,
        manifest: EncoderManifest,
        tensors: "Mapping[str, Tensor]",
        files: Mapping[str, bytes] | None = None,
    ) -> WeightsFolder:
        """Put an encoder into the store at once or not at all; ``files`` are written beside the tensors.

        Raises Misconfigured ``store_unwritable`` where there is no room or no permission, BadInput
        ``bad_encoder_name``, Conflict ``locked``.
        """
        name = manifest.name
        check_name(name)
        with self._writing():
            scratch = self._on_the_way(name, "new")
            try:
                scratch.mkdir()
                self._write(scratch, manifest, tensors, files or {})
                self._exchange(scratch, self._installed / name)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        return self.find(name)

    def remove(self, name: str) -> None:
        """Delete an installed encoder; raises NotFound ``not_installed``, for shipped ones too, or Conflict."""
        folder = self._installed / name
        if name not in self.names() or not (folder / MANIFEST).is_file():
            raise NotFound(
                "not_installed",
                "no weights of that name were installed",
                hint="sonoseek models list shows what is installed",
            )
        with self._writing():
            # Half deleted, it must not be found.
            shutil.rmtree(folder.rename(self._on_the_way(name, "gone")))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Have the store alone, swept of what killed processes left; an OSError says that it is not writable."""
        try:
            self._installed.mkdir(parents=True, exist_ok=True)
            with alone(self._installed / ".lock", wait_s=_LOCK_WAIT_S):
                self._sweep()
                yield
        except OSError as error:
            raise _unwritable(error) from error

    def _put_back(self) -> None:
        """Where a process was killed between two renames: give an encoder its place again, if that can be done."""
        if any(self._installed.glob(".*.old")):
            # Somebody who is writing does it himself, and a store that is mounted read-only stays as it is.
            with suppress(OSError, Conflict), alone(self._installed / ".lock"):
                self._sweep()

    def _sweep(self) -> None:
        """Put back or delete the folders on their way: whoever made them has ended, or he would hold the lock."""
        for folder in self._installed.glob(".*"):
            found = _ON_THE_WAY.fullmatch(folder.name)
            if found and found["what"] == "old" and not (self._installed / found["name"]).exists():
                folder.rename(self._installed / found["name"])
            elif found:
                shutil.rmtree(folder, ignore_errors=True)

    def _on_the_way(self, name: str, what: str) -> Path:
        """A new hidden place, on the file system of the encoder's own, so that renaming is atomic."""
        return self._installed / f".{name}.{secrets.token_hex(4)}.{what}"

    def _write(
        self, folder: Path, manifest: EncoderManifest, tensors: "Mapping[str, Tensor]", files: Mapping[str, bytes]
    ) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        folder.chmod(0o755)  # a service that runs as another user may read it
        for file, data in files.items():
            (folder / file).write_bytes(data)
        path = folder / f"{manifest.name}.safetensors"
        try:
            save_file(_apart(tensors), path)
        except SafetensorError as error:  # it wraps what the disk said
            raise OSError(str(error)) from error
        path.chmod(0o644)
        weights = WeightsFile(file=path.name, sha256=sha256_of(path))
        write_manifest(manifest.model_copy(update={"weights": weights}), folder)
        for written in (*folder.iterdir(), folder):
            _sync(written)

    def _exchange(self, new: Path, place: Path) -> None:
        """Move a finished folder to its place; what was there goes first and comes back if that fails."""
        old = self._on_the_way(place.name, "old")
        if place.exists():
            place.rename(old)
        try:
            new.rename(place)
        except OSError:
            with suppress(OSError):
                old.rename(place)
            raise
        _sync(place.parent)
        shutil.rmtree(old, ignore_errors=True)


def _apart(tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Contiguous tensors, each in memory of its own: safetensors refuses two that share it."""
    seen: set[int] = set()
    own: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        own[key] = tensor.contiguous().clone() if place in seen else tensor.contiguous()
        seen.add(place)
    return own


def _sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk: a name must never survive a power cut without its content."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def check_name(name: str) -> None:
    """Raise BadInput ``bad_encoder_name`` where a name cannot be a folder's."""
    if not _NAME.fullmatch(name):
        raise BadInput(
            "bad_encoder_name",
            "an encoder cannot have that name",
            hint="take 1 to 64 of a-z, 0-9, point, dash and underscore, a letter or digit first",
        )


def _unwritable(error: OSError) -> Misconfigured:
    return Misconfigured(
        "store_unwritable",
        f"the folder of installed weights cannot be written ({type(error).__name__})",
        hint="check SONOSEEK_MODELS: its permissions, and that the disk has room for the weights",
    )
