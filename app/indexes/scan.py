"""The plain scan: nothing to build, so it answers at once where an engine is still being built."""

from app.indexes.exact import ExactIndex
from app.indexes.tables import PlainTable


class ScanIndex(ExactIndex):
    """Reads every vector for every query, and measures in float64 what rounding leaves open."""

    engine = "scan"

    def _build(self, _components: object) -> None:
        self._table = PlainTable(self._vectors)
