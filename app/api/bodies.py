"""How OpenAPI is told about bodies that are read by hand."""

from typing import Any

_BINARY = {"type": "string", "format": "binary"}
_RAW = ("image/*", "application/dicom", "application/octet-stream")
_PATIENT = {"type": "string", "example": "", "description": "Patient whose references are left out; hashed at once."}


def image_body(*, patient: bool = False) -> dict[str, Any]:
    """One image, as multipart part ``image`` or as the raw body."""
    properties: dict[str, Any] = {"image": _BINARY, **({"exclude_patient_id": _PATIENT} if patient else {})}
    form = {"schema": {"type": "object", "required": ["image"], "properties": properties}}
    content = {"multipart/form-data": form, **{media: {"schema": _BINARY} for media in _RAW}}
    return {"requestBody": {"required": True, "content": content}}


def two_images_body() -> dict[str, Any]:
    """Two images, as multipart parts ``a`` and ``b``."""
    schema = {"type": "object", "required": ["a", "b"], "properties": {"a": _BINARY, "b": _BINARY}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
