"""Facts about the database itself."""

import uuid

from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.library.database import writing
from app.library.tables import FactRow

_SECRET_CHECK = "hmac_check"  # noqa: S105 - the name of a row, not a secret
_UID = "database_uid"


class Facts:
    """The check value of the secret that the database was filled with, and who it is."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = writing(engine)

    def has_secret(self) -> bool:
        """Whether a secret has been used with this database."""
        return self.secret_check() is not None

    def secret_check(self) -> str | None:
        """The check value of the secret that this database was filled with."""
        return self._get(_SECRET_CHECK)

    def remember_secret(self, check_value: str) -> str:
        """Store the check value where there is none; returns the one in force."""
        return self._remember(_SECRET_CHECK, check_value)

    def database_uid(self) -> str:
        """What tells this database from every other one; a dump that is restored keeps it."""
        return self._get(_UID) or self._remember(_UID, uuid.uuid4().hex)

    def _get(self, name: str) -> str | None:
        with Session(self._engine) as session:
            row = session.get(FactRow, name)
            return row.value if row else None

    def _remember(self, name: str, value: str) -> str:
        there = self._get(name)
        if there is not None:  # a start over a read-only directory must not write
            return there
        try:
            with Session(self._writing) as session, session.begin():
                session.add(FactRow(name=name, value=value))
        except IntegrityError:  # another process was first
            pass
        return self._get(name) or value
