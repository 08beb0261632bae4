"""Who changes libraries, and the line that each change leaves in the access log."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.errors import Refused
from app.library.catalogue import Catalogue
from app.security.access_log import AccessLog, Attempt


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something: ``local`` on the command line and where no key is needed, else the id of a key."""

    name: str
    may_write: bool = True

    def check_may_write(self) -> None:
        """Raise Refused ``writes_off`` where this door is for reading only."""
        if not self.may_write:
            raise Refused(
                "writes_off",
                "this service does not change libraries over HTTP",
                hint="use the command line, or let the operator set SONOSEEK_SERVER__WRITES=true",
            )


LOCAL = Actor("local")


class Recorder:
    """Lets actors act, or refuses them; either leaves a line."""

    def __init__(self, catalogue: Catalogue, access_log: AccessLog) -> None:
        self._catalogue = catalogue
        self._access_log = access_log

    def refused(self, by: Actor, action: str, library: str | None, key: str | None, code: str) -> None:
        """The line of what was refused before it began; ``key`` is the reference that it was about."""
        if key is not None:
            library = next((found.library for found in self._catalogue.get_many([key])), None)
        self._access_log.write(by.name, action, self._known(library), [key] if key else [], code)

    @contextmanager
    def recording(
        self, by: Actor, action: str, library: str | None, *objects: str, new: bool = False
    ) -> Iterator[Attempt]:
        """The line of what the block does; raises Refused ``writes_off``.

        A library's name is written down where there is such a library, or where it may be ``new``: what was sent in
        its place might be an identity.
        """
        named = library if new else self._known(library)
        with self._access_log.recording(by.name, action, named, objects) as attempt:
            by.check_may_write()
            yield attempt

    def _known(self, library: str | None) -> str | None:
        return library if library in self._catalogue.names() else None
