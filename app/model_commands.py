"""The commands under ``sonoseek models``: encoders and their weights."""

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.config import Settings
from app.current_settings import current_settings
from app.errors import BadInput
from app.terminal.console import err, out, print_error, print_json
from app.terminal.models import changed_preparation, print_models, print_source_files
from app.terminal.progress import transfer_progress

if TYPE_CHECKING:
    from app.domain import Frame
    from app.encoders.manifest import EncoderManifest
    from app.encoders.weights import WeightsFolder, WeightStore

_COMPARED = 8
"""Pictures to compare with the authors' package: the centred cosine needs several."""

models = typer.Typer(no_args_is_help=True, help="Encoders and their weights.")


def _plain_name(name: str | None) -> str | None:
    """A name that may be a folder's."""
    from app.encoders.weights import check_name

    if name is not None:
        try:
            check_name(name)
        except BadInput as error:
            raise typer.BadParameter(f"{error.detail}: {error.hint}") from error
    return name


Name = Annotated[str, typer.Argument(callback=_plain_name, help="An encoder; sonoseek models list names them.")]
UnknownDigest = Annotated[
    bool, typer.Option("--allow-unknown-digest", help="Accept files whose sha256 nobody published; it is recorded.")
]


@models.command("list")
def list_encoders(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False) -> None:
    """List the encoders: whether they are installed, their size, precision here and licence."""
    from app.encoders.device import choose_placement
    from app.encoders.listing import list_models

    settings = current_settings()
    placement = choose_placement(settings.encoders.device, settings.encoders.precision)
    store = _store(settings)
    listed = list_models(store, placement.precision)
    if as_json:
        print_json([dataclasses.asdict(model) for model in listed])
    else:
        print_models(listed)
    for error in store.broken().values():
        print_error(error)


@models.command("add")
def add(
    name: Name,
    path: Annotated[Path, typer.Argument(exists=True, help="The official file, or a folder that holds them.")],
    allow_unknown_digest: UnknownDigest = False,
    under: Annotated[
        str | None,
        typer.Option("--as", callback=_plain_name, help="Store it under this name, beside the official one."),
    ] = None,
    fit: Annotated[str | None, typer.Option(help="crop, pad or stretch; another encoder then.")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Side of the input in pixels; another encoder then.")] = None,
    licence: Annotated[
        str | None, typer.Option(help="Of weights that SonoSeek does not know: what their page states; required there.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="Of a Hugging Face or OpenCLIP folder: cls, pooled or mean; pooled without it.")
    ] = None,
    original: Annotated[
        bool, typer.Option("--original", help="Serve it through the authors' own package; needs the extra original.")
    ] = False,
) -> None:
    """Install an encoder from official files, or a Hugging Face or OpenCLIP folder, without a network."""
    from app.encoders.adding import add_model

    if fit not in (None, "crop", "pad", "stretch"):
        raise typer.BadParameter("--fit is one of crop, pad, stretch")
    added = add_model(
        _store(current_settings()),
        name,
        path,
        allow_unknown_digest=allow_unknown_digest,
        under=under,
        fit=fit,
        size=size,
        original=original,
        licence=licence,
        output=output,
    )
    _tell_installed(added, beside=under is not None)


@models.command("fetch")
def fetch(
    name: Name,
    folder: Annotated[
        Path | None, typer.Option("--to", file_okay=False, help="Only download into this folder, to be carried on.")
    ] = None,
    allow_unknown_digest: UnknownDigest = False,
    ca: Annotated[
        Path | None, typer.Option(help="PEM file with certificates to trust beside the system's, as a hospital's.")
    ] = None,
) -> None:
    """Download the official files of an encoder and install them; the only command that uses the internet."""
    from app.encoders.fetching import fetch_files, fetch_model

    settings = current_settings()
    store = _store(settings)
    found = store.find(name)
    if folder is None and found.installed:
        out.print(f"{name} is installed already; sonoseek models verify {name} checks it")
        return
    print_source_files(found.manifest)
    with transfer_progress() as progress:
        chosen = ca or settings.download.ca_file
        if folder is not None:
            fetch_files(found.manifest, folder, ca=chosen, progress=progress)
        else:
            added = fetch_model(
                store,
                name,
                settings.models_dir,
                allow_unknown_digest=allow_unknown_digest,
                ca=chosen,
                progress=progress,
            )
    if folder is None:
        _tell_installed(added)
    else:
        _tell_carrying(found.manifest, folder)


@models.command("verify")
def verify(
    name: Name,
    official: Annotated[
        Path | None,
        typer.Option(
            "--against-original",
            exists=True,
            help="The official files: compare with the authors' own package, which the extra original installs.",
        ),
    ] = None,
) -> None:
    """Check an installed encoder: the sha256 of its weights, and that it embeds pictures."""
    from app.encoders.base import embed
    from app.encoders.device import choose_placement
    from app.encoders.registry import open_encoder

    settings = current_settings()
    store = _store(settings)
    placement = choose_placement(settings.encoders.device, settings.encoders.precision, settings.encoders.threads)
    encoder = open_encoder(name, store, placement)
    vectors = embed(encoder, _phantom_frames(1))
    out.print(f"{name}: weights unchanged; a phantom gives {vectors.shape[1]} finite numbers in {encoder.precision}")
    out.print(f"digest {encoder.digest}")
    if official is not None:
        _compare_with_original(store, name, official)


@models.command("remove")
def remove(name: Name) -> None:
    """Delete the installed weights of an encoder; its manifest stays known if it ships with SonoSeek."""
    _store(current_settings()).remove(name)
    out.print(f"{name} removed")


def _store(settings: Settings) -> "WeightStore":
    from app.encoders.weights import WeightStore

    return WeightStore(settings.models_dir)


def _phantom_frames(count: int) -> "list[Frame]":
    from app.domain import Frame, ImageFacts
    from app.images.phantom import draw_phantoms

    return [
        Frame(phantom.pixels, ImageFacts("", "phantom", width=phantom.pixels.shape[1], height=phantom.pixels.shape[0]))
        for phantom in draw_phantoms(count)
    ]


def _compare_with_original(store: "WeightStore", name: str, official: Path) -> None:
    from app.encoders.original import verify_against_original

    parity = verify_against_original(store, name, official, _phantom_frames(_COMPARED))
    out.print(
        f"the authors' package on {parity.pictures} phantoms: cosine {parity.cosine:.7f}, centred "
        f"{parity.centred:.7f}, largest difference {parity.difference:.1e}: {'the same' if parity.holds else 'differs'}"
    )
    if not parity.holds:
        raise typer.Exit(1)


def _tell_installed(added: "WeightsFolder", *, beside: bool = False) -> None:
    """``beside``: under a name of its own, so that the official one stays what it is."""
    manifest = added.manifest
    out.print(f"{manifest.name} installed: {manifest.dim} dimensions, licence {manifest.licence}")
    if manifest.official:
        told = changed_preparation(manifest.name, manifest.preprocess, manifest.official)
        out.print(f"{told}: another encoder{'' if beside else '; --as NAME keeps the official one beside it'}")
    if manifest.converted_from:
        out.print(f"its file holds {' and '.join(manifest.converted_from)}: stored as float32")
    for source in (manifest.model_extra or {}).get("installed_from", ()):
        if not source["known"]:
            err.print(f"  {source['file']} has no published digest; recorded: sha256 {source['sha256']}")
    out.print(f"to load it: SONOSEEK_ENCODERS__NAMES={manifest.name}")


def _tell_carrying(manifest: "EncoderManifest", folder: Path) -> None:
    from app.encoders.weights import sha256_of

    for source in manifest.source:
        out.print(f"  {source.file}: sha256 {sha256_of(folder / source.file)}")
    unknown = any(source.sha256 is None for source in manifest.source)
    option = " --allow-unknown-digest" if unknown else ""
    out.print(f"carry {folder} over, then: sonoseek models add {manifest.name} {shlex.quote(str(folder))}{option}")
