"""Facts about the database itself."""

from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.library.database import writing
from app.library.tables import FactRow

_SECRET_CHECK = "hmac_check"  # noqa: S105 - the name of a row, not a secret


class Facts:
    """The check value of the secret that the database was filled with."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = writing(engine)

    def has_secret(self) -> bool:
        """Whether a secret has been used with this database."""
        return self.secret_check() is not None

    def secret_check(self) -> str | None:
        """The check value of the secret that this database was filled with."""
        with Session(self._engine) as session:
            row = session.get(FactRow, _SECRET_CHECK)
            return row.value if row else None

    def remember_secret(self, check_value: str) -> str:
        """Store the check value where there is none; returns the one in force."""
        there = self.secret_check()
        if there is not None:  # a start over a read-only directory must not write
            return there
        try:
            with Session(self._writing) as session, session.begin():
                session.add(FactRow(name=_SECRET_CHECK, value=check_value))
        except IntegrityError:  # another process was first
            pass
        return self.secret_check() or check_value
