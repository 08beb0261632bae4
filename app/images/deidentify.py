"""What is kept of a DICOM header: a few named facts, and keyed hashes of what identifies."""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from dataclasses import dataclass

from pydicom.dataset import Dataset

from app.domain import Box
from app.images import header

IDENTITIES = (
    "PatientID",
    "AccessionNumber",
    "StudyID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
)
OTHER_IDS, OTHER_IDS_ITEMS = "OtherPatientIDs", "OtherPatientIDsSequence"
FACTS = ("Modality", "Manufacturer", "ManufacturerModelName", "BurnedInAnnotation")
HEADER_KEYWORDS = (*FACTS, *IDENTITIES, OTHER_IDS, OTHER_IDS_ITEMS)
"""All that is looked at beside the pixels: facts are kept as they are, ids are hashed, the rest is skipped."""

DEFINED_MODALITIES = (
    "AR ASMT AU BDUS BI BMD CFM CR CT CTPROTOCOL DG DMS DOC DX ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL"
    " IVOCT IVUS KER KO LEN LS M3D MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PA PLAN POS PR PT PX"
    " REG RESP RF RG RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF"
    " STAIN TEXTUREMAP TG US VA XA XAPROTOCOL XC"
)
MODALITIES = frozenset(DEFINED_MODALITIES.split())
"""Defined terms of PS3.3 C.7.3.1.1.1; anything else in that place is not kept."""

LONGEST_TEXT = 64


class Keyer:
    """Turns identifiers into keyed hashes (HMAC-SHA256, 64 hex digits, one domain for each kind of id).

    The text is composed by NFC and stripped of white space and NUL around it, its case kept, so that one patient
    has one key. Without the secret nobody can tell which id a key stands for; with another secret the same id has
    another key.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def patient_key(self, text: str) -> str:
        """Key of a PatientID."""
        return self._key("patient", text)

    def study_key(self, text: str) -> str:
        """Key of a StudyInstanceUID."""
        return self._key("study", text)

    def instance_key(self, text: str) -> str:
        """Key of a SOPInstanceUID."""
        return self._key("instance", text)

    def identity_key(self, text: str) -> str:
        """Key of any identifier, to compare it with an external id; never stored."""
        return self._key("identity", text)

    def check_value(self) -> str:
        """Tells whether two processes hold the same secret, and nothing about it."""
        return self._key("check", "")

    def _key(self, domain: str, text: str) -> str:
        name = unicodedata.normalize("NFC", text).strip(header.PADDING)
        message = f"sonoseek/{domain}\0{name}".encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class KeptHeader:
    """What outlives the reading of a DICOM header; ``region`` is its largest 2-D tissue region."""

    modality: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    patient_key: str | None = None
    study_key: str | None = None
    instance_key: str | None = None
    identity_keys: frozenset[str] = frozenset()
    burned_in: bool = False
    region: Box | None = None
    warnings: tuple[str, ...] = ()


def keep_header(dataset: Dataset, keyer: Keyer) -> KeptHeader:
    """The named facts of a header and the hashes of its ids; the scan region is read elsewhere."""
    modality = header.text(dataset, "Modality")
    patient, study, instance = (
        header.text(dataset, name) for name in ("PatientID", "StudyInstanceUID", "SOPInstanceUID")
    )
    return KeptHeader(
        modality=modality if modality in MODALITIES else None,
        manufacturer=_short(header.text(dataset, "Manufacturer")),
        model=_short(header.text(dataset, "ManufacturerModelName")),
        patient_key=keyer.patient_key(patient) if patient else None,
        study_key=keyer.study_key(study) if study else None,
        instance_key=keyer.instance_key(instance) if instance else None,
        identity_keys=frozenset(keyer.identity_key(one) for one in _identities(dataset)),
        burned_in=header.text(dataset, "BurnedInAnnotation") == "YES",
    )


def _identities(dataset: Dataset) -> set[str]:
    """Everything in the header that names a patient, a study or an instance."""
    found = {header.text(dataset, name) for name in IDENTITIES}
    found |= {str(one).strip(header.PADDING) for one in header.values(dataset, OTHER_IDS)}
    found |= {header.text(item, "PatientID") for item in header.items(dataset, OTHER_IDS_ITEMS)}
    return {one for one in found if one}


def _short(text: str | None) -> str | None:
    """A device's name as one printable line."""
    if text is None:
        return None
    return "".join(letter for letter in text if letter.isprintable())[:LONGEST_TEXT].strip() or None
