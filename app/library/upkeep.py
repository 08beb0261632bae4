"""Files and rows kept together: whose frames these are, and what follows an interrupted writer."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.errors import SonoSeekError, Unavailable
from app.library.database import writing
from app.library.facts import Facts
from app.library.faults import other_database
from app.library.files import FrameFiles
from app.library.leftovers import Swept, is_unknown, put_right, reference_of
from app.library.queries import frame_checksums, hold_writers
from app.library.tables import ReferenceRow
from app.logs import get_logger

log = get_logger("library")


class Upkeep:
    """Looks after the frames of one database."""

    def __init__(self, engine: Engine, files: FrameFiles, facts: Facts) -> None:
        self._engine = engine
        self._writing = writing(engine)
        self._files = files
        self._facts = facts

    def claim_frames(self) -> None:
        """Make sure that the stored frames are those of this database; raises Misconfigured ``other_database``.

        Else a start over a wrong or an empty database would take every frame for an orphan.
        """
        with suppress(Unavailable):  # read-only, and from before databases were told apart: nothing is swept then
            uid, owner = self._facts.database_uid(), self._files.owner()
            if uid == owner:
                return
            if self._files.holds_frames() and (owner is not None or not self._all_ids()):
                raise other_database()
            self._files.name_owner(uid)

    def sweep(self) -> Swept:
        """Bring files and rows together again after a writer was killed between them; where it cannot, it says so."""
        try:
            suspects = self._files.suspects(self._all_ids()) if self._are_ours() else []
            if not suspects:
                return Swept()
            with Session(self._writing) as session, session.begin():
                hold_writers(session)  # so that none of these is what somebody is writing just now
                keys = sorted({reference_of(path) for path in suspects})
                swept = put_right(self._files, suspects, frame_checksums(session, keys))
        except (SonoSeekError, OSError) as error:
            log.warning("frames_not_swept", error=type(error).__name__)
            return Swept()
        log.info("frames_swept", deleted=swept.deleted, restored=swept.restored)
        if swept.kept:
            log.warning("frames_without_rows", number=swept.kept, hint="was an older database restored?")
        return swept

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Where nobody can tell how a block ended, files follow the rows at once, or else at the next start."""
        try:
            yield
        except BaseException as error:
            if is_unknown(error):
                self.sweep()
            raise

    def _are_ours(self) -> bool:
        return self._files.owner() == self._facts.database_uid()

    def _all_ids(self) -> set[str]:
        with Session(self._engine) as session:
            return set(session.scalars(select(ReferenceRow.id)))
