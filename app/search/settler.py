"""Settler: what becomes of images that are to be enrolled, beside what is there already.

The command line and the HTTP door settle by these rules alone: a new image is added; one that is there and about
which nothing else is said stays as it is; one about which something else is said is a conflict, unless the caller
wants to update or to skip it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from app.domain import Labels, RegionSource, Taxonomy
from app.errors import BadInput, Conflict, NotFound, SonoSeekError
from app.library.catalogue import Catalogue
from app.library.reference import NewReference, Reference
from app.search.candidate import Candidate, Said
from app.search.enroller import Enroller, ReadyImage
from app.search.recorder import Actor, Recorder

OnConflict = Literal["error", "skip", "update"]
Became = Literal["added", "unchanged", "updated", "skipped", "error"]

_MOST_IMAGES = 32
_MOST_PIXELS = 64_000_000
"""What waits to be encoded and stored together: two batches of a device, and no more memory than one large frame."""

_OWN_FAULTS = (BadInput, Conflict, NotFound)
"""Errors that an image or what is said of it is to blame for; all others end the run: no image after it would do."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image: ``error`` says why nothing did, ``warnings`` what its owner should know."""

    became: Became
    reference_id: str | None = None
    error: SonoSeekError | None = None
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Run:
    """One call: what it was asked, what it has learnt, and the images that wait to be stored together."""

    library: str
    taxonomy: Taxonomy
    on_conflict: OnConflict
    actor: str
    creates: bool
    settled: list[str]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    waiting: dict[str, tuple[int, Said, ReadyImage]] = field(default_factory=dict)
    claimed: dict[str, str] = field(default_factory=dict)

    def is_full(self) -> bool:
        """Whether what waits should be stored before more is read."""
        pixels = sum(image.frame.pixels.size for _, _, image in self.waiting.values())
        return len(self.waiting) >= _MOST_IMAGES or pixels >= _MOST_PIXELS

    def became(self, place: int, became: Became, key: str, said: Said) -> None:
        """Write down what became of the image at a place."""
        self.settled.append(key)
        self.outcomes[place] = Outcome(became, key, warnings=unknown_groups(self.taxonomy, said.labels))

    def failed(self, place: int, error: SonoSeekError) -> None:
        """Write down why nothing became of it."""
        error.recorded = True  # the line of the whole call says so
        self.outcomes[place] = Outcome("error", error=error)

    def is_about(self, ids: Iterable[str]) -> None:
        """Write down references that are there, and that an image is refused for."""
        self.settled += [key for key in ids if key not in self.settled]


class Settler:
    """Adds, updates, skips or refuses images. Safe to call from many threads."""

    def __init__(self, catalogue: Catalogue, enroller: Enroller, recorder: Recorder) -> None:
        self._catalogue = catalogue
        self._enroller = enroller
        self._recorder = recorder

    def settle(
        self,
        library: str,
        candidates: Iterable[Candidate],
        *,
        by: Actor,
        on_conflict: OnConflict = "error",
        create: Taxonomy | None = None,
    ) -> list[Outcome]:
        """What became of each image, in their order; those that are good are stored even where others are not.

        Raises NotFound where there is no such library, unless ``create`` is given: it is then made with that
        taxonomy, but not before there is something to store. Raises what no image is to blame for, such as
        Unavailable or StorageFull; what was stored before stays, and the same call may be made again.
        """
        with self._recorder.recording(by, "reference.add", library, new=create is not None) as attempt:
            # Objects are added one by one: what was stored is said even where the call fails later.
            taxonomy = self._taxonomy(library, create)
            run = _Run(library, taxonomy, on_conflict, by.name, create is not None, attempt.objects)
            for place, candidate in enumerate(candidates):
                self._take(run, place, candidate)
                if run.is_full():
                    self._store_waiting(run)
            self._store_waiting(run)
            outcomes = [outcome for _, outcome in sorted(run.outcomes.items())]
            attempt.outcome = _summary(outcomes)
        return outcomes

    def _taxonomy(self, library: str, create: Taxonomy | None) -> Taxonomy:
        if create is not None and library not in self._catalogue.names():
            return create
        return self._catalogue.taxonomy(library)

    def _take(self, run: _Run, place: int, candidate: Candidate) -> None:
        """Put an image among those that wait, or settle it if it is known already."""
        try:
            if known := self._catalogue.get_many(candidate.early_ids(run.library)):
                self._settle(run, place, candidate.said, known[0], candidate.read)
                return
            image = candidate.read()
            key = image.id_in(run.library)
            if key in run.waiting:
                self._store_waiting(run)
            if known := self._catalogue.get_many([key]):
                self._settle(run, place, candidate.said, known[0], lambda: image)
                return
            self._claim(run, image.external_id, key)
            run.waiting[key] = (place, candidate.said, image)
        except _OWN_FAULTS as error:
            run.failed(place, error)

    def _claim(self, run: _Run, external_id: str | None, key: str) -> None:
        """Refuse an external id that another image of the library or of this call has."""
        if external_id is None:
            return
        taken: set[str] = set()
        if self._exists(run):
            taken = {found.id for found in self._catalogue.listing.page(run.library, external_id=external_id)}
        if {run.claimed.setdefault(external_id, key), *taken} != {key}:
            run.is_about(taken)
            raise Conflict(
                "external_id_taken",
                "another image of this library already has that external id",
                hint="external ids are unique in a library",
            )

    def _settle(self, run: _Run, place: int, said: Said, stored: Reference, read: Callable[[], ReadyImage]) -> None:
        """An image that is there already: nothing new, an update, a skip or a conflict; a lost frame comes back."""
        differences = _differences(run.taxonomy, said, stored)
        is_stale = stored.frame_digest != said.frame_digest
        is_lost = not self._catalogue.files.holds(stored.id)
        if differences and run.on_conflict == "skip":
            run.became(place, "skipped", stored.id, said)
        elif differences and run.on_conflict == "error":
            run.is_about([stored.id])
            raise Conflict(
                "already_enrolled",
                f"the image is already there as reference {stored.id}, with another {' and '.join(differences)}",
                hint="on_conflict=update (--on-conflict update) takes what is said now, skip keeps what is there",
            )
        elif differences or is_lost or (is_stale and run.on_conflict == "update"):
            self._claim(run, said.external_id, stored.id)
            is_cropped_anew = is_stale or is_lost or "region" in differences
            self._update(run, said, stored, self._enroller.encoded(read()) if is_cropped_anew else None)
            run.became(place, "updated", stored.id, said)
        else:
            run.became(place, "unchanged", stored.id, said)

    def _update(self, run: _Run, said: Said, stored: Reference, cropped: NewReference | None) -> None:
        self._catalogue.update(
            stored.id,
            said.labels,
            said.attributes,
            patient_key=said.patient_key,
            external_id=said.external_id,
            cropped=cropped,
            actor=run.actor,
        )

    def _store_waiting(self, run: _Run) -> None:
        waiting, run.waiting = list(run.waiting.values()), {}
        if not waiting:
            return
        if run.creates and not self._exists(run):
            # Not before: images that are all bad, or a mistyped name, leave no library behind.
            self._catalogue.put_library(run.library, run.taxonomy)
        self._store(run, waiting)

    def _store(self, run: _Run, waiting: list[tuple[int, Said, ReadyImage]]) -> None:
        try:
            ids = self._enroller.store(run.library, [image for _, _, image in waiting], actor=run.actor)
        except _OWN_FAULTS as error:
            self._store_singly(run, waiting, error)
            return
        for (place, said, _), key in zip(waiting, ids, strict=True):
            run.became(place, "added", key, said)

    def _store_singly(self, run: _Run, waiting: list[tuple[int, Said, ReadyImage]], error: SonoSeekError) -> None:
        """One image of those that wait was refused: the others must not suffer for it."""
        if len(waiting) > 1:
            for one in waiting:
                self._store(run, [one])
            return
        ((place, said, image),) = waiting
        try:
            # Another caller may have enrolled the same image meanwhile: then it is one that is known.
            if known := self._catalogue.get_many([image.id_in(run.library)]):
                self._settle(run, place, said, known[0], lambda: image)
                return
        except _OWN_FAULTS as other:
            error = other
        run.failed(place, error)

    def _exists(self, run: _Run) -> bool:
        return run.library in self._catalogue.names()


def _differences(taxonomy: Taxonomy, said: Said, stored: Reference) -> list[str]:
    """What is said otherwise than what is stored."""
    given = stored.facts.region if stored.facts.region_source is RegionSource.GIVEN else None
    compared = {
        "set of labels": taxonomy.complete(said.labels) != stored.labels,
        "set of attributes": dict(said.attributes) != dict(stored.attributes),
        "patient": said.patient_key not in (None, stored.facts.patient_key),
        "external id": said.external_id not in (None, stored.external_id),
        "region": said.region not in (None, given),
    }
    return [name for name, differs in compared.items() if differs]


def unknown_groups(taxonomy: Taxonomy, labels: Labels) -> tuple[str, ...]:
    """A warning for each label that has no group: it is searched for all the same, but not with its like."""
    complete = taxonomy.complete(labels)
    warnings = []
    if labels.organ is not None and complete.organ_group is None:
        warnings.append(f"the taxonomy knows no group for the organ {labels.organ!r}")
    if not labels.diagnosis_groups:
        lacking = [name for name in labels.diagnoses if name not in taxonomy.diagnoses]
        warnings += [f"the taxonomy knows no group for the diagnosis {name!r}" for name in lacking]
    return tuple(warnings)


def _summary(outcomes: Sequence[Outcome]) -> str:
    """One word for what became of the images of a call, of errors their code; ``mixed`` where they differ."""
    became: set[str] = {one.error.code if one.error else one.became for one in outcomes} or {"unchanged"}
    return became.pop() if len(became) == 1 else "mixed"
