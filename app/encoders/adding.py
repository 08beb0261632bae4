"""Installing an encoder from its official files: found, verified, converted, stored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.encoders.manifest import EncoderManifest, SourceFile
from app.encoders.registry import convert
from app.encoders.weights import WeightsFolder, WeightStore, sha256_of
from app.errors import BadInput


def add_model(
    store: WeightStore,
    name: str,
    path: Path,
    *,
    allow_unknown_digest: bool = False,
    under: str | None = None,
    fit: str | None = None,
    size: int | None = None,
) -> WeightsFolder:
    """Install the named encoder from a file, or from a folder that holds its official files.

    ``under`` stores it under another name; ``fit`` and ``size`` change how pictures are prepared: another encoder
    then, with another digest. Raises NotFound, BadInput or Misconfigured, and leaves the store as it was.
    """
    manifest = store.find(name).manifest
    files = _source_files(manifest, path)
    seen = {source.file: sha256_of(files[source.file]) for source in manifest.source}
    for source in manifest.source:
        _verify(source, seen[source.file], allow_unknown_digest=allow_unknown_digest)
    installed = [
        {"file": source.file, "sha256": seen[source.file], "known": source.sha256 is not None}
        for source in manifest.source
    ]
    stored = manifest.model_copy(
        update={
            "name": under or name,
            "preprocess": _changed(manifest.preprocess, fit, size),
            "installed_from": installed,
        }
    )
    return store.install(stored, convert(stored, files))


def _changed(preprocess: Mapping[str, Any], fit: str | None, size: int | None) -> dict[str, Any]:
    """A table of preprocessing with another fit or size; the frame that a crop cuts away keeps its share."""
    changed = dict(preprocess)
    if fit is not None:
        changed["fit"] = fit
    if size is not None:
        changed["size"] = size
        if "resize" in preprocess:
            changed["resize"] = round(size * preprocess["resize"] / preprocess["size"])
    return changed


def _source_files(manifest: EncoderManifest, path: Path) -> dict[str, Path]:
    """The official files by name; a single file may have any name."""
    if path.is_file() and len(manifest.source) == 1:
        return {manifest.source[0].file: path}
    folder = path if path.is_dir() else path.parent
    files = {source.file: folder / source.file for source in manifest.source}
    missing = [name for name, file in files.items() if not file.is_file()]
    if missing:
        raise BadInput(
            "files_missing",
            f"encoder {manifest.name!r} is made from {', '.join(files)}; not found: {', '.join(missing)}",
            hint=f"put them into one folder, or run: sonoseek models fetch {manifest.name}",
        )
    return files


def _verify(source: SourceFile, sha256: str, *, allow_unknown_digest: bool) -> None:
    if source.sha256 is None and not allow_unknown_digest:
        raise BadInput(
            "unknown_digest",
            f"no digest is published for {source.file}; the sha256 of this file is {sha256}",
            hint="compare it with a source that you trust, then repeat with --allow-unknown-digest",
        )
    if source.sha256 not in (None, sha256):
        raise BadInput(
            "wrong_digest",
            f"this is not the official {source.file}: its sha256 is {sha256}, not {source.sha256}",
            hint="fetch it again from the official address; docs/models.md lists them",
        )
