"""The named dependencies that routes are written in.

All are ``async``: none of them waits for anything but the body, and a plain ``def`` would take a thread each.
"""

from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Header, Query, Request
from fastapi.dependencies.models import Dependant

from app.api.intake import Form, Upload, read_json, read_upload
from app.api.schemas.inputs import MOST_ROWS
from app.config import Settings
from app.domain import Box
from app.errors import BadInput
from app.library.reference import check_library_name
from app.search.answer import ImageQuery, Wish, parse_condition, parse_names
from app.search.recorder import Actor
from app.wiring import Service

_LABELLED = Form(
    needed="send a form with the image as part 'image' and what you say of it as JSON in the part 'labels': "
    'curl -F image=@scan.dcm -F \'labels={"organ": "femur"}\''
)
_BATCH = Form(
    max_files=MOST_ROWS + 1,
    max_field_bytes=1024 * 1024,
    repeated="images",
    needed="send a form with parts named 'images' and a JSON list in the part 'references': "
    'curl -F images=@a.dcm -F images=@b.dcm -F \'references=[{"organ": "femur"}, {}]\'',
)


async def _service(request: Request) -> Service:
    service: Service = request.app.state.opening.service()
    return service


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _request_id(request: Request) -> str:
    request_id: str = request.state.request_id
    return request_id


async def _actor(request: Request, settings: Annotated[Settings, Depends(_settings)]) -> Actor:
    actor = Actor(request.state.actor, may_write=settings.server.writes)
    actor.check_may_write()  # before the body is read: whoever must not write need not send one
    return actor


async def _library_name(name: str) -> str:
    check_library_name(name)
    return name


async def _json(request: Request, settings: Annotated[Settings, Depends(_settings)]) -> bytes:
    return await read_json(request, settings.server)


async def _labelled_image(request: Request, settings: Annotated[Settings, Depends(_settings)]) -> Upload:
    return await read_upload(request, settings.server, _LABELLED)


async def _labelled_images(request: Request, settings: Annotated[Settings, Depends(_settings)]) -> Upload:
    return await read_upload(request, settings.server, _BATCH)


async def _upload(request: Request, settings: Annotated[Settings, Depends(_settings)]) -> Upload:
    return await read_upload(request, settings.server)


async def _wish(
    library: Annotated[str | None, Query(description="Library to search; may be left out when there is one.")] = None,
    k: Annotated[int, Query(description="Number of neighbours, 1 to 1000.")] = 10,
    encoder: Annotated[str | None, Query(description="A loaded encoder; the default without it.")] = None,
    target: Annotated[
        str | None,
        Query(
            description="organ, organ_group, diagnoses or findings: search with the encoder that the library's own "
            "evaluation adopted for that label kind."
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        Query(description="KIND:VALUE, a label kind or an attribute; repeated: same kind or, other kinds and."),
    ] = None,
    scores: Annotated[
        str | None, Query(description="Names, comma separated; all without it, none where it is empty.")
    ] = None,
    max_per_patient: Annotated[int | None, Query(description="At most that many references of one patient.")] = None,
    include_self: Annotated[bool, Query(description="Keep a reference that is the query itself.")] = False,
) -> Wish:
    return Wish(
        library=library,
        encoder=encoder,
        target=target,
        k=k,
        where=tuple(parse_condition(text) for text in where or ()),
        scores=parse_names(scores),
        max_per_patient=max_per_patient,
        include_self=include_self,
    )


async def _image(
    upload: Annotated[Upload, Depends(_upload)],
    frame: Annotated[int | None, Query(description="Frame of a cine, from 1; the middle one without it.")] = None,
    region: Annotated[str | None, Query(description="x0,y0,x1,y1: the scan region, half open, in pixels.")] = None,
) -> ImageQuery:
    image = upload.file("image")
    upload.expect(files=("image",), fields=("exclude_patient_id",))
    return ImageQuery(image, frame, Box.parse(region) if region else None)


async def _image_query(
    image: Annotated[ImageQuery, Depends(_image)],
    upload: Annotated[Upload, Depends(_upload)],
    x_exclude_patient_id: Annotated[
        str | None, Header(description="Patient whose references are left out; hashed at once.")
    ] = None,
) -> ImageQuery:
    patient_id = upload.fields.get("exclude_patient_id") or _header_text(x_exclude_patient_id)
    return replace(image, patient_id=patient_id)


def _header_text(value: str | None) -> str | None:
    """A header's value as its sender wrote it: HTTP hands over latin-1, and curl sends UTF-8."""
    if value is None:
        return None
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


async def refuse_unknown_parameters(request: Request) -> None:
    """Raise BadInput ``unknown_parameter`` for what a route does not know: a typo would be silently ignored."""
    known = _query_names(request.scope["route"].dependant)
    unknown = set(request.query_params) - set(known)
    if unknown & {"exclude_patient_id", "patient_id"}:
        raise BadInput(
            "patient_in_url",
            "a patient id must not be part of the address, which proxies log",
            hint="send it in the body: to search as the form field exclude_patient_id (or the header "
            "X-Exclude-Patient-ID), to enrol and to erase as patient_id of the JSON",
        )
    if unknown:
        raise BadInput(
            "unknown_parameter",
            "the address has a parameter that this path does not know",
            hint=f"parameters are: {', '.join(known) or 'none'}",
        )


def _query_names(dependant: Dependant) -> list[str]:
    """The query parameters that a route and its dependencies declare."""
    own = [field.alias for field in dependant.query_params]
    return own + [name for part in dependant.dependencies for name in _query_names(part)]


ServiceDep = Annotated[Service, Depends(_service)]
SettingsDep = Annotated[Settings, Depends(_settings)]
RequestId = Annotated[str, Depends(_request_id)]
UploadDep = Annotated[Upload, Depends(_upload)]
ActorDep = Annotated[Actor, Depends(_actor)]
LibraryName = Annotated[str, Depends(_library_name)]
"""Of a path with ``{name:path}``: so that a name with a slash is told what is wrong with it."""

JsonDep = Annotated[bytes, Depends(_json)]
LabelledImageDep = Annotated[Upload, Depends(_labelled_image)]
LabelledImagesDep = Annotated[Upload, Depends(_labelled_images)]
WishDep = Annotated[Wish, Depends(_wish)]
ImageDep = Annotated[ImageQuery, Depends(_image)]
ImageQueryDep = Annotated[ImageQuery, Depends(_image_query)]
