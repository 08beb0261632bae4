"""What results rest on, as digests: where they are the same, what an earlier run computed can be taken."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from functools import cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import app
from app.evaluation.ground import Contestant, Ground
from app.version import VERSION

_COMPUTE = ("numpy", "scipy", "scikit-learn", "torch")


def digest_of(*facts: str) -> str:
    """One digest of some texts, each told from its neighbours."""
    return hashlib.sha256("".join(f"{len(fact)}:{fact}" for fact in facts).encode()).hexdigest()


def state_of_ground(ground: Ground) -> str:
    """All that a ground tells: a library that came back from a backup can have the same version and other labels."""
    return digest_of(repr(ground.info), repr(ground.references), _of_arrays(ground.patients, ground.lookalikes))


def state_of_vectors(contestant: Contestant) -> str:
    """A contestant and the vectors by which it is judged."""
    return digest_of(contestant.name, contestant.digest, _of_arrays(contestant.snapshot.vectors))


@cache
def state_of_code() -> str:
    """SonoSeek's version and sources, Python and the packages that compute."""
    root = Path(app.__file__).parent
    sources = [f"{path.relative_to(root)} {_of_bytes(path.read_bytes())}" for path in sorted(root.rglob("*.py"))]
    return digest_of(VERSION, platform.python_version(), *map(version_of, _COMPUTE), *sources)


def version_of(package: str) -> str:
    """The installed version of a package, empty where it is not."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _of_arrays(*arrays: NDArray[Any]) -> str:
    return digest_of(*(f"{one.dtype} {one.shape} {_of_bytes(one.tobytes())}" for one in arrays))


def _of_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
