"""The DreamSim score (Fu et al. 2023): how far two embeddings of its ensemble point apart."""

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray


class DreamSimScore(TypedDict):
    """``distance`` is 1 - cosine, 0 = same; ``similarity`` is 1 - distance."""

    distance: float
    similarity: float


def dreamsim_score(a: NDArray[np.float32], b: NDArray[np.float32]) -> DreamSimScore:
    """Of two embeddings (dim,) of one digest."""
    first, second = a.astype(np.float64), b.astype(np.float64)
    cosine = float(first @ second / np.sqrt((first @ first) * (second @ second)))
    distance = max(0.0, 1.0 - cosine)  # rounding may give the same picture a cosine above 1
    return {"distance": distance, "similarity": 1.0 - distance}
