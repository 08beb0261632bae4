"""The switchboard: builds every long-lived object once, in start-up order, and closes in reverse."""

import ipaddress
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.config import Settings
from app.encoders.batcher import Batcher
from app.encoders.weights import WeightStore
from app.errors import Conflict, DeviceLost, Misconfigured, Unavailable, device_lost
from app.images.deidentify import Keyer
from app.images.reader import ReadLimits
from app.library.catalogue import Catalogue
from app.library.database import open_database
from app.library.files import FrameFiles
from app.loading import open_batcher
from app.logs import get_logger
from app.search.comparer import Comparer
from app.search.dreamsim import NOT_INSTALLED, SWITCHED_OFF, DreamSimVectors
from app.search.editor import Editor, Forget
from app.search.enroller import Enroller
from app.search.finder import Finder
from app.search.importer import Importer
from app.search.index_makers import IndexMaker, LocalIndexes
from app.search.overview import Overviews
from app.search.recorder import Recorder
from app.search.settler import Settler
from app.search.shelves import Shelves
from app.security.access_log import AccessLog
from app.security.keys import BearerKey, read_foreign_key, read_key
from app.security.secret import make_secret, read_secret

if TYPE_CHECKING:
    from app.search.remote_indexes import RemoteIndexes

log = get_logger("wiring")


@dataclass(frozen=True, slots=True)
class Library:
    """What needs no encoder: the catalogue, the secret's keyer and the weights store."""

    settings: Settings
    catalogue: Catalogue
    keyer: Keyer
    weights: WeightStore
    access_log: AccessLog
    recorder: Recorder
    editor: Editor


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that answers."""

    settings: Settings
    catalogue: Catalogue
    weights: WeightStore
    batcher: Batcher
    shelves: Shelves
    finder: Finder
    comparer: Comparer
    enroller: Enroller
    settler: Settler
    editor: Editor
    overviews: Overviews
    importer: Importer
    recorder: Recorder

    def preload(self) -> None:
        """Build the index of every library and warm every encoder; sweep what a crash left."""
        self.catalogue.upkeep.sweep()
        self.batcher.warm_up()
        for name in self.catalogue.names():
            # A library that needs to be embedded again must not keep the others from being searched, nor must Qdrant.
            try:
                self.shelves.snapshot(name, self.batcher.default)
            except (Conflict, Unavailable) as error:
                log.warning("not_preloaded", library=name, code=error.code, hint=error.hint)
        self.shelves.settle()

    def close(self) -> None:
        """Stop the worker; what waits gets an answer first."""
        self.batcher.close()
        self.shelves.close()
        self.catalogue.close()


def open_library(settings: Settings) -> Library:
    """The database and the secret; raises Misconfigured where they do not belong together."""
    engine = open_database(settings.database_url)
    catalogue = Catalogue(engine, FrameFiles(settings.data / "frames"))
    keyer = Keyer(_secret(settings, catalogue))
    if catalogue.facts.remember_secret(keyer.check_value()) != keyer.check_value():
        raise Misconfigured(
            "other_secret",
            "the database was filled with another secret: patient exclusion and erasure would match nothing",
            hint="give SONOSEEK_SECURITY__HMAC_KEY_FILE the secret that this database was made with",
        )
    catalogue.upkeep.claim_frames()
    access_log = AccessLog(engine)
    recorder = Recorder(catalogue, access_log)
    editor = Editor(catalogue=catalogue, keyer=keyer, recorder=recorder, forget=_forget(settings, catalogue))
    return Library(settings, catalogue, keyer, WeightStore(settings.models_dir), access_log, recorder, editor)


def open_service(library: Library, on_device_lost: Callable[[], None] = lambda: None) -> Service:
    """Load encoders and build the indexes of all libraries."""
    settings = library.settings
    batcher = open_batcher(settings.encoders, library.weights, on_device_lost)
    limits = ReadLimits(
        max_bytes=settings.images.max_bytes,
        max_pixels=settings.images.max_pixels,
        max_frames=settings.images.max_frames,
    )
    catalogue, keyer = library.catalogue, library.keyer
    dreamsim = DreamSimVectors(
        catalogue, batcher, why_not=NOT_INSTALLED if settings.encoders.dreamsim_scores else SWITCHED_OFF
    )
    indexes = open_indexes(settings, catalogue)
    shelves = Shelves(catalogue, indexes)
    finder = Finder(
        catalogue=catalogue,
        shelves=shelves,
        batcher=batcher,
        dreamsim=dreamsim,
        keyer=keyer,
        limits=limits,
        deadline_s=settings.server.deadline_s,
    )
    enroller = Enroller(
        catalogue=catalogue,
        batcher=batcher,
        keyer=keyer,
        limits=limits,
        seconds_per_image=settings.server.deadline_s,
    )
    settler = Settler(catalogue, enroller, library.recorder)
    editor = Editor(catalogue=catalogue, keyer=keyer, recorder=library.recorder, forget=shelves.forget)
    return Service(
        settings=settings,
        catalogue=catalogue,
        weights=library.weights,
        batcher=batcher,
        shelves=shelves,
        finder=finder,
        comparer=Comparer(finder, batcher, dreamsim, deadline_s=settings.server.deadline_s),
        enroller=enroller,
        settler=settler,
        editor=editor,
        overviews=Overviews(catalogue),
        importer=Importer(catalogue=catalogue, enroller=enroller, settler=settler, editor=editor, keyer=keyer),
        recorder=library.recorder,
    )


def open_indexes(settings: Settings, catalogue: Catalogue) -> IndexMaker:
    """What makes and follows indexes; raises Misconfigured for a Qdrant that is not fully described."""
    if settings.index.engine != "qdrant":
        return LocalIndexes(settings.index.engine)
    return open_qdrant(settings, catalogue)


def open_qdrant(settings: Settings, catalogue: Catalogue) -> "RemoteIndexes":
    """The collections of the Qdrant server that the settings name."""
    from app.indexes.qdrant import QdrantStore  # the client is imported only where it is used
    from app.search.remote_indexes import RemoteIndexes

    key_file = settings.qdrant.api_key_file
    key = None if key_file is None else read_foreign_key(key_file)
    return RemoteIndexes(QdrantStore(settings.qdrant, key, database=catalogue.facts.database_uid()), catalogue)


class Opening:
    """A service that opens on a thread of its own, so that the server can say "not yet" meanwhile.

    ``on_failure`` is called once with ``failure`` set, where it cannot open, or later where its device is lost.
    """

    def __init__(self, library: Library, on_failure: Callable[[], None] = lambda: None) -> None:
        self._library = library
        self.recorder = library.recorder
        self._on_failure = on_failure
        self._service: Service | None = None
        self.failure: Exception | None = None
        self._thread = threading.Thread(target=self._open, name="opening", daemon=True)

    def start(self) -> None:
        """Begin to open."""
        self._thread.start()

    def service(self) -> Service:
        """The open service; raises Unavailable ``starting``, or DeviceLost where it cannot answer any more."""
        if isinstance(self.failure, DeviceLost):
            raise device_lost()
        if self._service is None:
            raise Unavailable(
                "starting",
                "the service is loading its encoders and indexes",
                hint="ask GET /health/ready until it answers 200",
            )
        return self._service

    def close(self) -> None:
        """Wait until it is open and close it."""
        self._thread.join()
        if self._service is not None:
            self._service.close()

    def _open(self) -> None:
        try:
            service = open_service(self._library, on_device_lost=lambda: self._fail(device_lost()))
            service.preload()
            self._service = service
        except Exception as error:  # the thread's only way to tell
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if self.failure is None:
            self.failure = error
            self._on_failure()


@contextmanager
def running_service(settings: Settings) -> Iterator[Service]:
    """A service for one command of the CLI."""
    service = open_service(open_library(settings))
    try:
        yield service
    finally:
        service.close()


def open_key(settings: Settings) -> BearerKey | None:
    """The bearer key; raises Misconfigured where the service would be open to a network by mistake."""
    if settings.security.key_file is not None:
        return read_key(settings.security.key_file)
    if not _is_loopback(settings.server.host) and not settings.security.open:
        raise Misconfigured(
            "open_to_network",
            f"the service would listen on {settings.server.host} for everyone, without a key",
            hint="set SONOSEEK_SECURITY__KEY_FILE to a file with a key, "
            "or SONOSEEK_SECURITY__OPEN=true if everyone on that network may see the library",
        )
    return None


def _forget(settings: Settings, catalogue: Catalogue) -> Forget:
    """Takes away what indexes hold of removed references, for commands that open no index else."""

    def forget(_library: str, uid: str, ids: Sequence[str] | None) -> list[str]:
        with closing(open_indexes(settings, catalogue)) as indexes:
            return indexes.forget(uid, ids)

    return forget


def _secret(settings: Settings, catalogue: Catalogue) -> bytes:
    if settings.security.hmac_key_file is not None:
        return read_secret(settings.security.hmac_key_file)
    path = settings.data / "hmac.key"
    return make_secret(path) if not catalogue.facts.has_secret() and not path.exists() else read_secret(path)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
