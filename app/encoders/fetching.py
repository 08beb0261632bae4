"""Fetching an encoder: all official files that its manifest names, then into the store."""

from __future__ import annotations

import shutil
from pathlib import Path

from app.encoders.adding import add_model
from app.encoders.download import Progress, fetch_file
from app.encoders.manifest import EncoderManifest
from app.encoders.partial_file import alone, writing_into
from app.encoders.weights import WeightsFolder, WeightStore
from app.errors import BadInput


def fetch_model(
    store: WeightStore,
    name: str,
    models: Path,
    *,
    allow_unknown_digest: bool = False,
    ca: Path | None = None,
    progress: Progress = lambda _file, _done, _total: None,
) -> WeightsFolder:
    """Download what the named encoder is made from and install it.

    The files wait in a hidden folder of ``models``, the store's own, so that an interrupted fetch goes on the
    next time; it is deleted when they are installed, or turn out to be no use. Raises NotFound, and what
    ``fetch_file`` and ``add_model`` raise.
    """
    manifest = store.find(name).manifest
    _require_sources(manifest)
    unknown = [source.file for source in manifest.source if source.sha256 is None]
    if unknown and not allow_unknown_digest:
        raise BadInput(
            "unknown_digest",
            f"no digest is published for {', '.join(unknown)}: what comes cannot be told from another file",
            hint="repeat with --allow-unknown-digest if the connection can be trusted; the sha256 is recorded",
        )
    scratch = models / f".{name}.download"
    with writing_into(models), alone(models / f".{name}.lock"):
        fetch_files(manifest, scratch, ca=ca, progress=progress)
        try:
            added = add_model(store, name, scratch, allow_unknown_digest=allow_unknown_digest)
        except BadInput:  # with these files it will never work
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        shutil.rmtree(scratch, ignore_errors=True)
    return added


def fetch_files(
    manifest: EncoderManifest,
    folder: Path,
    *,
    ca: Path | None = None,
    progress: Progress = lambda _file, _done, _total: None,
) -> list[Path]:
    """Download all official files of an encoder into a folder; raises BadInput ``nothing_to_fetch``."""
    _require_sources(manifest)
    return [fetch_file(source, folder, ca=ca, progress=progress) for source in manifest.source]


def _require_sources(manifest: EncoderManifest) -> None:
    if not manifest.source:
        raise BadInput(
            "nothing_to_fetch",
            f"the manifest of encoder {manifest.name!r} names no official file",
            hint="sonoseek models list shows whether its weights are installed",
        )
