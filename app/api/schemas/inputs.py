"""What callers say in JSON: labels, enrolments, taxonomies, a patient. Nothing of it is ever repeated in an error."""

from collections.abc import Mapping
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import from_json

from app.domain import ATTRIBUTES, LABEL_KINDS, MOST_LETTERS, Box, Labels, Taxonomy, is_label_text, unique
from app.errors import BadInput
from app.search.editor import LabelEdit
from app.search.enroller import Enrolment

MOST_ROWS = 256
_OWN_NAMES = {*LABEL_KINDS, "path", "frame", "region", "patient_id", "external_id"}


def _plain(text: str) -> str:
    if not is_label_text(text):
        raise ValueError
    return text


def _single(text: str) -> str:
    if ";" in text:  # manifests separate labels by it
        raise ValueError
    return text


def _free(name: str) -> str:
    if name in _OWN_NAMES:
        raise ValueError
    return name


Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST_LETTERS), AfterValidator(_plain)
]
OneOfMany = Annotated[Text, AfterValidator(_single)]
Many = Annotated[list[OneOfMany], Field(max_length=100)]
AttributeName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$"), AfterValidator(_free)]
Whole = Annotated[int, Field(strict=True, ge=0, lt=2**31)]


class Input(BaseModel):
    """The base of all that callers send as JSON: unknown fields are refused, since a typo would be ignored."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """From JSON; raises BadInput ``bad_json`` or ``bad_fields`` that names what cannot be used."""
        return cls.of(parse_json(data))

    @classmethod
    def of(cls, value: object) -> Self:
        """From parsed JSON."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise cls._refusal(error) from None

    @classmethod
    def _refusal(cls, error: ValidationError) -> BadInput:
        names = sorted({cls._name(fault["loc"]) for fault in error.errors(include_url=False, include_input=False)})
        return BadInput(
            "bad_fields",
            f"not usable: {', '.join(names)}",
            hint=f"fields are {', '.join(cls.model_fields)}; labels are texts of at most 200 characters without "
            "line breaks, those of which there can be several stand in a list and hold no semicolon",
        )

    @classmethod
    def _name(cls, where: tuple[int | str, ...]) -> str:
        """The field, and which of its items; an unknown field is not repeated: it may hold anything."""
        if not where:
            return "the JSON is no object"
        if where[0] not in cls.model_fields:
            return "an unknown field"
        return ".".join([str(where[0]), *(str(part + 1) for part in where[1:2] if isinstance(part, int))])


class LabelsInput(Input):
    """Labels and attributes; what is left out is not annotated, in a PATCH it stays as it is."""

    organ: Text | None = Field(None, description="The organ or standard plane.")
    organ_group: Text | None = Field(None, description="Its group; the taxonomy's own wins.")
    plane: Text | None = Field(None, description="Such as axial.")
    diagnoses: Many = Field(default_factory=list, description="Any number; normal is one like any other.")
    diagnosis_groups: Many = Field(default_factory=list, description="Their groups; the taxonomy's own win.")
    findings: Many = Field(default_factory=list, description="Any number.")
    attributes: dict[AttributeName, Text] = Field(
        default_factory=dict,
        max_length=32,
        description=f"Such as {', '.join(ATTRIBUTES)}: stored, returned, filtered by. Nothing that names a person.",
    )

    @field_validator("diagnoses", "diagnosis_groups", "findings", "attributes", mode="before")
    @classmethod
    def _null_clears(cls, value: object, info: ValidationInfo) -> object:
        if value is None:
            return {} if info.field_name == "attributes" else []
        return value

    def labels(self) -> Labels:
        """The labels."""
        return Labels(
            organ=self.organ,
            organ_group=self.organ_group,
            plane=self.plane,
            diagnoses=unique(self.diagnoses),
            diagnosis_groups=unique(self.diagnosis_groups),
            findings=unique(self.findings),
        )

    def edit(self) -> LabelEdit:
        """What a PATCH changes: the kinds that were named."""
        labels = self.labels()
        kinds = {kind: getattr(labels, kind) for kind in LABEL_KINDS if kind in self.model_fields_set}
        return LabelEdit(kinds, self.attributes if "attributes" in self.model_fields_set else None)


class EnrolmentInput(LabelsInput):
    """What the owner of an image says of it."""

    external_id: str | None = Field(
        None, pattern=r"^[A-Za-z0-9._:-]{1,64}$", description="Your own name for the image, unique in the library."
    )
    frame: Annotated[int, Field(strict=True, ge=1, lt=2**31)] | None = Field(
        None, description="Frame of a cine, from 1; the middle one without it."
    )
    region: tuple[Whole, Whole, Whole, Whole] | None = Field(
        None, description="x0, y0, x1, y1: the scan region, half open, in pixels."
    )
    patient_id: str | None = Field(
        None,
        min_length=1,
        max_length=1024,
        description="Your id of the patient; hashed at once, never stored. Wins over a DICOM file's own.",
    )

    def enrolment(self) -> Enrolment:
        """The same in the words of the search room."""
        return Enrolment(
            labels=self.labels(),
            attributes=self.attributes,
            frame=self.frame,
            region=Box(*self.region) if self.region else None,
            patient_id=self.patient_id,
            external_id=self.external_id,
        )


class TaxonomyInput(Input):
    """Which group an organ or a diagnosis belongs to."""

    organs: dict[Text, Text] = Field(default_factory=dict, description="Organ -> group.")
    diagnoses: dict[Text, Text] = Field(default_factory=dict, description="Diagnosis -> group.")

    def taxonomy(self) -> Taxonomy:
        """The taxonomy."""
        return Taxonomy(organs=self.organs, diagnoses=self.diagnoses)


class PatientInput(Input):
    """A patient who is to be erased."""

    patient_id: str = Field(min_length=1, max_length=1024, description="As it was enrolled; hashed at once.")


def parse_json(data: bytes) -> object:
    """JSON as Python objects; raises BadInput ``bad_json``."""
    try:
        value: object = from_json(data, allow_inf_nan=False)
    except ValueError:
        raise BadInput(
            "bad_json",
            "the JSON cannot be read",
            hint="check quotes and commas; UTF-8 only; curl's -F cuts a value at a semicolon, --form-string does not",
        ) from None
    return value


def parse_rows(data: bytes) -> list[object]:
    """The list of a batch; raises BadInput ``bad_batch``."""
    rows = parse_json(data)
    if not isinstance(rows, list) or not 1 <= len(rows) <= MOST_ROWS:
        raise BadInput(
            "bad_batch",
            f"the part references is no list of 1 to {MOST_ROWS} descriptions",
            hint="one description for each image, in the same order; {} for an image without labels",
        )
    return rows


Model = TypeVar("Model", bound=Input)


def json_body(model: type[Model], example: Mapping[str, Any]) -> dict[str, Any]:
    """How OpenAPI is told about a JSON body that is read by hand."""
    schema = {**model.model_json_schema(), "example": dict(example)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
