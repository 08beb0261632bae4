"""Hubness: whether a few images are among everybody's nearest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.evaluation.protocol import Protocol, Ranked


@dataclass(frozen=True, slots=True)
class Hubness:
    """How often images of the gallery are among the ten nearest (N10: Radovanović, Nanopoulos and Ivanović 2010).

    ``skew`` is the third standardised moment of N10 (0 for a symmetrical spread, None where all are alike);
    ``top_share`` the share of all places that the most frequent 1 % of images (at least one) take; ``never`` the share
    of images that nobody finds; ``largest`` the highest N10, ``mean`` the mean.
    """

    contestant: str
    protocol: Protocol
    kind: str
    images: int
    mean: float
    skew: float | None
    top_share: float | None
    never: float
    largest: int


def hubness_of(ranked: Ranked) -> Hubness:
    """From the neighbours of all queries."""
    found = ranked.neighbours[ranked.neighbours >= 0]
    times = np.bincount(found, minlength=len(ranked.gallery))[ranked.gallery]
    spread = float(times.std())
    most = np.sort(times)[::-1][: max(1, len(times) // 100)]
    return Hubness(
        contestant=ranked.contestant,
        protocol=ranked.protocol,
        kind=ranked.kind,
        images=len(times),
        mean=float(times.mean()),
        skew=float(((times - times.mean()) ** 3).mean() / spread**3) if spread > 0 else None,
        top_share=float(most.sum() / times.sum()) if times.sum() else None,
        never=float(np.mean(times == 0)),
        largest=int(times.max()),
    )
