"""Where weights lie: the folder that ships with the code, and the store of what a user installed."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import app
from app.encoders.manifest import EncoderManifest, read_manifest
from app.errors import Misconfigured, NotFound


def shipped_models() -> Path:
    """The read-only ``models/`` of this installation: inside the wheel, else beside ``app/``."""
    package = Path(app.__file__).parent
    inside = package / "shipped_models"
    return inside if inside.is_dir() else package.parent / "models"


@dataclass(frozen=True, slots=True)
class WeightsFolder:
    """One encoder's folder with its manifest."""

    folder: Path
    manifest: EncoderManifest

    @property
    def file(self) -> Path:
        """The file with the tensors."""
        return self.folder / self.manifest.weights.file

    @property
    def installed(self) -> bool:
        """Whether the tensors are there."""
        return self.file.is_file()

    def read(self) -> bytes:
        """The verified bytes of the tensors; raises Misconfigured where they are missing or changed."""
        if not self.installed:
            raise Misconfigured(
                "weights_missing",
                f"the weights of encoder {self.manifest.name!r} are not installed",
                hint=f"put {self.manifest.weights.file} into {self.folder}",
            )
        data = self.file.read_bytes()
        if hashlib.sha256(data).hexdigest() != self.manifest.weights.sha256:
            raise Misconfigured(
                "weights_changed",
                f"the weights of encoder {self.manifest.name!r} are not those of its manifest (sha256 differs)",
                hint=f"restore {self.file} from where it came",
            )
        return data


class WeightStore:
    """Finds encoders by name, first among the installed, then among the shipped."""

    def __init__(self, installed: Path, shipped: Path | None = None) -> None:
        self._roots = [installed, shipped or shipped_models()]

    def names(self) -> list[str]:
        """All encoders that have a manifest, in order."""
        found = {path.parent.name for root in self._roots for path in root.glob("*/manifest.toml")}
        return sorted(found)

    def find(self, name: str) -> WeightsFolder:
        """The folder of one encoder; raises NotFound ``unknown_encoder``."""
        if name in self.names():
            folder = next(root / name for root in self._roots if (root / name / "manifest.toml").is_file())
            return WeightsFolder(folder, read_manifest(folder))
        raise NotFound(
            "unknown_encoder",
            "there is no encoder of that name",
            hint=f"encoders are: {', '.join(self.names()) or 'none'}",
        )
