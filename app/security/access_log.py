"""The access log: who did what and when, by keys and never by an identity.

An auditor expects that no change exists without a line, whatever breaks. So the line of a change is written, and
committed, before the change begins, with the outcome ``begun``; without it there is no change. Then the outcome is
filled in: ``done``, or the code of the refusal. Where a line still says ``begun``, the process ended meanwhile, and
the objects of the line tell what to look at.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from app.errors import SonoSeekError
from app.library.database import writing
from app.library.reference import is_library_name
from app.library.tables import AccessRow
from app.logs import get_logger

BEGUN = "begun"
DONE = "done"
FAILED = "failed"

_OBJECT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{64}")
_ACTOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}")
_ACTION = re.compile(r"[a-z][a-z._-]{0,31}")
_OUTCOME = re.compile(r"[a-z][a-z0-9_]{0,63}")

log = get_logger("access_log")


@dataclass(frozen=True, slots=True)
class AccessLine:
    """One line. ``objects`` are reference ids and keyed hashes."""

    id: int
    at: datetime
    actor: str
    action: str
    library: str | None
    objects: tuple[str, ...]
    outcome: str


@dataclass(slots=True)
class Attempt:
    """What is known of an action in work: its objects and outcome may become known on the way."""

    objects: list[str] = field(default_factory=list)
    outcome: str = DONE


class AccessLog:
    """Writes and reads the lines."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = writing(engine)

    def write(
        self, actor: str, action: str, library: str | None = None, objects: Sequence[str] = (), outcome: str = DONE
    ) -> int:
        """Append a line; returns its number.

        Raises ValueError for what does not look like an id or a keyed hash: it might be an identity.
        """
        for pattern, text in ((_ACTOR, actor), (_ACTION, action), (_OUTCOME, outcome)):
            _check(pattern, text)
        named = library if library is not None and is_library_name(library) else None  # a typing error is no library
        row = AccessRow(actor=actor, action=action, library=named, objects=_checked(objects), outcome=outcome)
        with Session(self._writing) as session, session.begin():
            session.add(row)
            session.flush()
            return row.id

    @contextmanager
    def recording(
        self, actor: str, action: str, library: str | None = None, objects: Sequence[str] = ()
    ) -> Iterator[Attempt]:
        """Write the line of what the block does before it begins, and its outcome after."""
        number = self.write(actor, action, library, objects, BEGUN)
        attempt = Attempt(list(objects))
        try:
            yield attempt
        except BaseException as error:
            attempt.outcome = FAILED
            if isinstance(error, SonoSeekError):
                attempt.outcome, error.recorded = error.code, True
            raise
        finally:
            self._finish(number, attempt)

    def read(self, limit: int = 100, *, before: int | None = None) -> list[AccessLine]:
        """The newest lines first, at most ``limit``; those before a number where one is given."""
        lines = select(AccessRow).order_by(AccessRow.id.desc()).limit(limit)
        if before is not None:
            lines = lines.where(AccessRow.id < before)
        with Session(self._engine) as session:
            return [_line(row) for row in session.scalars(lines)]

    def _finish(self, number: int, attempt: Attempt) -> None:
        """Fill in the outcome. Where that fails, the action is over all the same, and the line goes on saying begun."""
        values = {"objects": _checked(attempt.objects), "outcome": attempt.outcome}
        try:
            with Session(self._writing) as session, session.begin():
                session.execute(update(AccessRow).where(AccessRow.id == number).values(values))
        except SonoSeekError as error:
            log.warning("outcome_not_written", line=number, code=error.code)


def _line(row: AccessRow) -> AccessLine:
    at = row.at.replace(tzinfo=UTC)
    return AccessLine(row.id, at, row.actor, row.action, row.library, tuple(row.objects), row.outcome)


def _checked(objects: Sequence[str]) -> list[str]:
    for name in objects:
        _check(_OBJECT, name)
    return list(objects)


def _check(pattern: re.Pattern[str], text: str) -> None:
    if not pattern.fullmatch(text):
        raise ValueError("the access log holds ids and keyed hashes only")  # and this text holds none of it either
