"""The encoders, and the files that one of them needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from rich.table import Table

from app.terminal.console import out
from app.terminal.numbers import decimals, megabytes

if TYPE_CHECKING:  # a command that prints no table must not pay for them
    from app.encoders.listing import ListedModel
    from app.encoders.manifest import EncoderManifest

_NUMBERS = ("dim", "served", "whole", "MB")
_HEADINGS = ("name", "here", *_NUMBERS, "in", "licence")


def print_models(models: list[ListedModel]) -> None:
    """The encoders as a table that fits 80 columns; long licences take several lines."""
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    for heading in _HEADINGS:
        justify: Literal["left", "right"] = "right" if heading in _NUMBERS else "left"
        table.add_column(heading, justify=justify, no_wrap=heading != "licence")
    for model in models:
        table.add_row(
            model.name,
            "yes" if model.installed else "no",
            str(model.dim),
            decimals(model.params / 1e6, 1),
            decimals(model.published_params and model.published_params / 1e6, 1),
            decimals(model.size_mb, 1),
            model.precision,
            model.licence,
        )
    out.print(table)
    out.print("served, whole: million parameters, of what is computed with and of the published model;")
    out.print("in: the precision on this machine; --json shows more")
    for model in models:
        if model.official:
            out.print(changed_preparation(model.name, {"fit": model.fit, "size": model.size}, model.official))


def changed_preparation(name: str, now: Mapping[str, object], official: Mapping[str, object]) -> str:
    """How an encoder prepares pictures where that is not the official way."""
    return f"{name} prepares pictures with " + ", ".join(
        f"{key} {now[key]} (officially {value})" for key, value in official.items()
    )


def print_source_files(manifest: EncoderManifest) -> None:
    """What is about to be downloaded: licence, files, addresses and the size in all."""
    out.print(f"{manifest.name}: {manifest.description}")
    out.print(f"licence: {manifest.licence}")
    for source in manifest.source:
        size = "size unknown" if source.bytes is None else megabytes(source.bytes)
        digest = "" if source.sha256 else ", digest unknown"
        out.print(f"  {source.file}, {size}{digest}: {source.url}")
    total = sum(source.bytes or 0 for source in manifest.source)
    known = all(source.bytes is not None for source in manifest.source)
    said = f"{'' if known else 'more than '}{megabytes(total)}" if total else "size unknown"
    out.print(f"in all: {said}")
