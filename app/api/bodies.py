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


def reference_body(description: dict[str, Any]) -> dict[str, Any]:
    """One image with what its owner says of it: multipart parts ``image`` and ``labels``."""
    properties = {"image": _BINARY, "labels": description}
    return _form({"type": "object", "required": ["image", "labels"], "properties": properties}, "labels")


def batch_body(description: dict[str, Any], most: int) -> dict[str, Any]:
    """Several images, and a list of what their owner says of them, in the same order."""
    images = {"type": "array", "items": _BINARY, "minItems": 1, "maxItems": most}
    rows = {"type": "array", "items": description, "minItems": 1, "maxItems": most}
    properties = {"images": images, "references": rows}
    return _form({"type": "object", "required": ["images", "references"], "properties": properties}, "references")


def _form(schema: dict[str, Any], json_part: str) -> dict[str, Any]:
    content = {"schema": schema, "encoding": {json_part: {"contentType": "application/json"}}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": content}}}
