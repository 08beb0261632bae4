"""Which pictures an encoder was trained on: the sha256 of their files, in a file beside its manifest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from app.encoders.weights import WeightsFolder
from app.errors import Misconfigured

FILE = "training.txt"
_SHA256 = re.compile(r"[0-9a-f]{64}")


def write_training_list(folder: Path, checksums: Iterable[str]) -> dict[str, object]:
    """Write the distinct sha256 (hex), sorted, one a line; returns what the manifest's ``[training]`` says of it."""
    lines = "".join(f"{one}\n" for one in sorted(set(checksums))).encode()
    (folder / FILE).write_bytes(lines)
    return {"list": FILE, "list_sha256": hashlib.sha256(lines).hexdigest()}


def read_training_list(found: WeightsFolder) -> frozenset[str] | None:
    """The sha256 (hex) of the files that an encoder was trained on; None where its manifest names no list.

    Raises Misconfigured ``training_list_changed`` where the list is not the one that the manifest names.
    """
    facts = (found.manifest.model_extra or {}).get("training", {})
    name = facts.get("list") if isinstance(facts, dict) else None
    if name is None:
        return None
    try:
        if name != FILE:  # a manifest must not lead out of its folder
            raise ValueError
        content = (found.folder / FILE).read_bytes()
        if hashlib.sha256(content).hexdigest() != facts.get("list_sha256"):
            raise ValueError
        listed = frozenset(content.decode("ascii").split())
        if not all(map(_SHA256.fullmatch, listed)):
            raise ValueError
    except (OSError, ValueError):
        raise Misconfigured(
            "training_list_changed",
            f"the list of what {found.manifest.name!r} was trained on is not the one that its manifest names",
            hint=f"install the encoder's whole folder again: {FILE} belongs beside manifest.toml",
        ) from None
    return listed
