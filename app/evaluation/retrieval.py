"""How well a library retrieves its own labels: each reference as a query, its own patient left out."""

import numpy as np

from app.metrics import Precision
from app.search.answer import Wish
from app.search.ranking import rank
from app.search.snapshot import Snapshot


def evaluate_retrieval(snapshot: Snapshot, kind: str = "organ", k: int = 10) -> Precision:
    """Neighbours with the query's label among the first k, for every reference that carries one of that kind.

    Ranks as the service does. A reference of a kind with several values counts once for each.
    """
    wish = Wish(k=k)
    matches, expected, groups = [], [], []
    for (name, _label), carriers in snapshot.rows_with.items():
        for row in carriers if name == kind else ():
            own = snapshot.references[row].id
            ranking = rank(snapshot, snapshot.vectors[row], wish, self_id=own, without_own_patient=True)
            seen = int(np.count_nonzero(ranking.visible))
            alike = int(np.count_nonzero(ranking.visible[carriers]))
            matches.append(np.isin(ranking.hits.rows, carriers).sum())
            expected.append(len(ranking.hits.rows) * alike / max(1, seen))
            groups.append(str(snapshot.patients[row]))
    return Precision(k, np.asarray(matches, np.float64), np.asarray(expected, np.float64), tuple(groups))
