"""Editor: changes of libraries and references that need no encoder, each with its line in the access log."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from app.domain import Labels, Taxonomy, unique
from app.errors import BadInput, Conflict, NotFound
from app.images.deidentify import Keyer
from app.library.catalogue import Catalogue
from app.library.queries import unknown_reference
from app.library.reference import Reference, check_library_name
from app.search.recorder import Actor, Recorder
from app.search.settler import Became, Outcome, unknown_groups

_EVERYWHERE_ELSE = (
    "the memory of other SonoSeek processes that were running: they show the patient no longer, and forget when they "
    "are started again",
    "backups and exports that were made before: SonoSeek knows of none; remove the patient there yourself",
    "encoders that somebody trained on images of this patient: SonoSeek does not record such trainings; "
    "train them again without the patient",
)


_DIGEST = "sha256:"


Forget = Callable[[str, str, Sequence[str] | None], list[str]]
"""Name and uid of a library and the ids that were removed from it, None: all of it."""


@dataclass(frozen=True, slots=True)
class LabelEdit:
    """What to change of a reference: label kinds that are not named, and attributes of None, stay."""

    kinds: Mapping[str, str | tuple[str, ...] | None]
    attributes: Mapping[str, str] | None = None

    def apply(self, stored: Labels) -> Labels:
        """The labels after the change. A group follows its label: the old one does not outlive another label."""
        kinds = dict(self.kinds)
        if kinds.get("organ", stored.organ) != stored.organ:
            kinds.setdefault("organ_group", None)
        if kinds.get("diagnoses", stored.diagnoses) != stored.diagnoses:
            kinds.setdefault("diagnosis_groups", ())
        return replace(stored, **kinds)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class ErasedPatient:
    """What was removed (library -> number of references, and their ids) and what remains elsewhere."""

    libraries: Mapping[str, int]
    references: Sequence[str]
    remains: Sequence[str]


@dataclass(frozen=True, slots=True)
class DeletedLibrary:
    """How many references went with a library, and what remains elsewhere."""

    references: int
    remains: Sequence[str]


@dataclass(frozen=True, slots=True)
class DroppedVectors:
    """The vectors that were removed from a library: whose, and how many."""

    encoder: str
    digest: str
    vectors: int


class Editor:
    """Changes libraries for an actor. Safe to call from many threads."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        keyer: Keyer,
        recorder: Recorder,
        forget: Forget,
    ) -> None:
        """``forget`` drops what indexes hold of what was removed, and says what remains where."""
        self._catalogue = catalogue
        self._keyer = keyer
        self._recorder = recorder
        self._forget = forget

    def put_library(self, name: str, taxonomy: Taxonomy, *, by: Actor) -> bool:
        """Create a library or replace the taxonomy of one; returns whether it is new. BadInput for a bad name."""
        with self._recorder.recording(by, "library.put", name, new=True) as attempt:
            check_library_name(name)
            before = self._catalogue.editions().get(name)
            is_new = self._catalogue.put_library(name, taxonomy, actor=by.name)
            differs = before != self._catalogue.editions().get(name)
            attempt.outcome = "added" if is_new else "updated" if differs else "unchanged"
        return is_new

    def delete_library(self, name: str, *, confirm: str | None, by: Actor) -> DeletedLibrary:
        """Delete a library with all its references; ``confirm`` repeats its name."""
        with self._recorder.recording(by, "library.delete", name):
            uid = self._catalogue.library(name).uid
            _check_confirmed(name, confirm)
            count = self._catalogue.delete_library(name)
            return DeletedLibrary(count, self._forget(name, uid, None))

    def drop_vectors(self, library: str, beginning: str, *, served: Collection[str], by: Actor) -> DroppedVectors:
        """Remove the vectors of a digest that is known by its beginning; raises Conflict for those that are served."""
        with self._recorder.recording(by, "library.drop-vectors", library):
            known = self._catalogue.embeddings.counts(library)
            wanted = beginning.removeprefix(_DIGEST)
            found = [digest for digest in known if wanted and digest.removeprefix(_DIGEST).startswith(wanted)]
            if len(found) != 1:
                raise _unknown_digest(known, len(found))
            ((encoder, _),) = (known[digest] for digest in found)
            if found[0] in served:
                raise Conflict(
                    "digest_served",
                    f"searches use the vectors of {encoder} {found[0]}",
                    hint="only those of encoders that are not served any more can be removed; "
                    "SONOSEEK_ENCODERS__NAMES and SONOSEEK_ENCODERS__PRECISION say what is served",
                )
            return DroppedVectors(encoder, found[0], self._catalogue.embeddings.drop(library, found[0]))

    def relabel(self, key: str, edit: LabelEdit, *, by: Actor) -> Outcome:
        """Change labels or attributes of a reference; where nothing differs, nothing happens."""
        warnings: tuple[str, ...] = ()

        def change(stored: Reference, taxonomy: Taxonomy) -> tuple[Labels, Mapping[str, str]]:
            nonlocal warnings
            labels = taxonomy.complete(edit.apply(stored.labels))
            warnings = unknown_groups(taxonomy, labels)
            return labels, stored.attributes if edit.attributes is None else edit.attributes

        with self._recorder.recording(by, "reference.update", self._library_of(key), key) as attempt:
            became: Became = "updated" if self._catalogue.relabel(key, change, actor=by.name) else "unchanged"
            attempt.outcome = became
        return Outcome(became, key, warnings=warnings)

    def remove(self, key: str, *, by: Actor) -> None:
        """Remove a reference; raises NotFound ``unknown_reference``."""
        with self._recorder.recording(by, "reference.delete", self._library_of(key), key):
            if not self._catalogue.remove([key]):
                raise unknown_reference()

    def erase(self, patient_id: str, *, by: Actor) -> ErasedPatient:
        """Remove everything of a patient from all libraries; the id itself goes nowhere."""
        key = self._keyer.patient_key(patient_id) if patient_id.strip() else None
        with self._recorder.recording(by, "patient.erase", None, *([key] if key else [])) as attempt:
            if key is None:
                raise BadInput("no_patient_id", "the patient id is empty", hint="send the id as it was enrolled")
            erased = self._catalogue.erase_patient(key)
            remains = [sentence for one in erased.gone for sentence in self._forget(one.library, one.uid, one.ids)]
            attempt.outcome = "erased" if erased.ids else "unchanged"
        return ErasedPatient(erased.libraries, erased.ids, (*erased.remains, *unique(remains), *_EVERYWHERE_ELSE))

    def _library_of(self, key: str) -> str | None:
        return next((found.library for found in self._catalogue.get_many([key])), None)


def _unknown_digest(known: Mapping[str, tuple[str, int]], count: int) -> NotFound:
    stored = ", ".join(f"{encoder} {digest}" for digest, (encoder, _) in known.items())
    return NotFound("unknown_digest", f"{count} digests of the library begin so", hint=f"stored are {stored or 'none'}")


def _check_confirmed(name: str, confirm: str | None) -> None:
    hint = f"confirm={name} in the address, or {name} where the command line asks, deletes it with all its references"
    if confirm is None:
        raise BadInput("confirm_needed", "deleting a library asks for its name once more", hint=hint)
    if confirm != name:
        raise Conflict("confirm_differs", "the name that confirms is not that of the library", hint=hint)
