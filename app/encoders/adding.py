"""Installing an encoder from its official files: found, verified, converted, stored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.encoders.describe import DESCRIBED_KINDS, describe_folder, folder_files, recognise
from app.encoders.manifest import EncoderManifest, SourceFile
from app.encoders.registry import convert
from app.encoders.weights import WeightsFolder, WeightStore, sha256_of
from app.errors import BadInput, BadRequest, Conflict

_PACKAGE = "-package"  # kinds that end so are served through the authors' code

if TYPE_CHECKING:
    from torch import Tensor


def add_model(
    store: WeightStore,
    name: str,
    path: Path,
    *,
    allow_unknown_digest: bool = False,
    under: str | None = None,
    fit: str | None = None,
    size: int | None = None,
    original: bool = False,
    licence: str | None = None,
    output: str | None = None,
) -> WeightsFolder:
    """Install the named encoder from a file, or from a folder that holds its official files.

    ``under`` stores it under another name; ``fit`` and ``size`` change how pictures are prepared: another encoder
    then, with another digest. ``original`` keeps the files as they are, for the authors' own code to serve.
    A name that no manifest knows may be given to a Hugging Face or OpenCLIP folder, with the ``licence`` of its
    weights and the ``output`` to take. Raises NotFound, Conflict, BadInput (BadRequest for an option without effect)
    or Misconfigured, and leaves the store as it was.
    """
    _refuse_taken(store, name, under)
    if _is_described(store, name, path):
        _refuse_idle({"--original": original}, "a Hugging Face or OpenCLIP folder")
        return add_folder(store, under or name, path, licence=licence, output=output, fit=fit, size=size)
    manifest = store.recipe(name)
    _refuse_idle({"--licence": licence, "--output": output}, f"encoder {name!r}, whose manifest says it")
    files = source_files(manifest, path)
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
            "kind": f"{manifest.kind.removesuffix(_PACKAGE)}{_PACKAGE}" if original else manifest.kind,
            **_prepared(manifest, fit, size),
            "installed_from": installed,
        }
    )
    return _install(store, stored, files)


def add_folder(
    store: WeightStore,
    name: str,
    path: Path,
    *,
    licence: str | None = None,
    output: str | None = None,
    fit: str | None = None,
    size: int | None = None,
) -> WeightsFolder:
    """Install a Hugging Face or OpenCLIP folder under a new name; raises BadInput or Misconfigured.

    Nobody publishes digests of such folders: those of the files are recorded in the manifest as not known.
    """
    described = describe_folder(name, path, licence=licence or "", output=output or "pooled")
    files = folder_files(path)
    installed = [{"file": file.name, "sha256": sha256_of(file), "known": False} for file in files.values()]
    stored = described.model_copy(update={**_prepared(described, fit, size), "installed_from": installed})
    kept = {"config.json": files["config.json"].read_bytes()} if "config.json" in files else {}
    return _install(store, stored, files, kept)


def _install(
    store: WeightStore,
    manifest: EncoderManifest,
    files: Mapping[str, Path],
    kept: Mapping[str, bytes] | None = None,
) -> WeightsFolder:
    """Convert the files and store what they give, with the types that they had."""
    from app.encoders.checkpoint import noted_types  # with it comes torch, which takes a second

    with noted_types() as types:
        tensors = _checked(convert(manifest, files), manifest.name)
    return store.install(manifest.model_copy(update={"converted_from": tuple(sorted(types))}), tensors, kept)


def _refuse_taken(store: WeightStore, name: str, under: str | None) -> None:
    if under is not None and under != name and store.is_shipped(under):
        raise Conflict(
            "name_taken",
            f"{under} is the name of an encoder that ships with SonoSeek",
            hint="choose another name: searches would no longer say what made their vectors",
        )


def _refuse_idle(options: Mapping[str, object], where: str) -> None:
    given = [option for option, value in options.items() if value]
    if given:
        raise BadRequest(
            "option_without_effect",
            f"{' and '.join(given)} would change nothing for {where}",
            hint="leave it out",
        )


def _checked(tensors: Mapping[str, Tensor], name: str) -> Mapping[str, Tensor]:
    """Weights that can give an embedding: all numbers finite, not all zero. Raises BadInput ``useless_weights``."""
    numbers = {key: tensor for key, tensor in tensors.items() if tensor.is_floating_point()}
    broken = [key for key, tensor in numbers.items() if not tensor.isfinite().all()]
    if broken or (numbers and not any(tensor.any() for tensor in numbers.values())):
        raise BadInput(
            "useless_weights",
            f"the weights of {name} hold values that are no numbers: {', '.join(broken[:4])}"
            if broken
            else f"all weights of {name} are zero",
            hint="the file is damaged or was never trained: fetch the official one",
        )
    return tensors


def _is_described(store: WeightStore, name: str, path: Path) -> bool:
    """Whether the name is the user's own, and the folder says what it holds."""
    if name in store.names():
        return store.recipe(name).kind in DESCRIBED_KINDS
    return recognise(path) is not None


def _prepared(manifest: EncoderManifest, fit: str | None, size: int | None) -> dict[str, Any]:
    """What of a manifest is another with another fit or size: its preprocessing, and what that was officially."""
    preprocess = _changed(manifest.preprocess, fit, size)
    before = {**manifest.preprocess, **manifest.official}
    official = {key: before[key] for key in ("fit", "size") if before.get(key) != preprocess.get(key)}
    return {"preprocess": preprocess, "official": official}


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


def source_files(manifest: EncoderManifest, path: Path) -> dict[str, Path]:
    """The official files by name; a single file may have any name. Raises BadInput ``files_missing``."""
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
