"""What ``sonoseek models list`` tells about every encoder."""

from __future__ import annotations

from dataclasses import dataclass

from app.encoders.registry import served_precision
from app.encoders.weights import WeightsFolder, WeightStore


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One encoder; ``size_mb`` is that of its installed file in 10^6 bytes, ``precision`` how it would be served.

    ``params`` counts what is served, ``published_params`` the whole published model where it is known. ``fit`` and
    ``size`` (pixels) say how pictures are prepared, ``official`` holds the official values of those that differ.
    """

    name: str
    installed: bool
    kind: str
    dim: int
    params: int
    published_params: int | None
    size_mb: float | None
    precision: str
    fit: str | None
    size: int | None
    official: dict[str, str | int]
    licence: str
    description: str


def list_models(store: WeightStore, precision: str) -> list[ListedModel]:
    """All encoders by name but those of ``store.broken()``; ``precision`` is that of this machine."""
    broken = store.broken()
    return [_listed(store.find(name), precision) for name in store.names() if name not in broken]


def _listed(found: WeightsFolder, precision: str) -> ListedModel:
    manifest = found.manifest
    size = (found.folder / manifest.weights.file).stat().st_size if manifest.weights and found.installed else None
    return ListedModel(
        name=manifest.name,
        installed=found.installed,
        kind=manifest.kind,
        dim=manifest.dim,
        params=manifest.parameters,
        published_params=manifest.published_parameters,
        size_mb=None if size is None else round(size / 1e6, 1),
        precision=served_precision(manifest, precision),
        fit=manifest.preprocess.get("fit"),
        size=manifest.preprocess.get("size"),
        official=manifest.official,
        licence=manifest.licence,
        description=manifest.description,
    )
