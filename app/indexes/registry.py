"""The engines by name; each is imported when it is opened, so that a start pays only for what it uses."""

from importlib import import_module

from app.domain import Vectors
from app.errors import Misconfigured
from app.indexes.base import VectorIndex

ENGINES = {
    "exact": ("app.indexes.exact", "ExactIndex"),
    "kdtree": ("app.indexes.trees", "KDTreeIndex"),
    "kdtree-raw": ("app.indexes.trees", "RawKDTreeIndex"),
    "balltree": ("app.indexes.trees", "BallTreeIndex"),
}


def open_index(engine: str, vectors: Vectors) -> VectorIndex:
    """Build the named engine over vectors (n, dim)."""
    if engine not in ENGINES:
        raise Misconfigured(
            "unknown_engine",
            f"there is no search engine named {engine!r}",
            hint=f"set SONOSEEK_INDEX__ENGINE to one of: {', '.join(ENGINES)}",
        )
    module, name = ENGINES[engine]
    index: VectorIndex = getattr(import_module(module), name)(vectors)
    return index
