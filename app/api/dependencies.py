"""The named dependencies that routes are written in."""

from typing import Annotated

from fastapi import Depends, Header, Query, Request

from app.api.intake import Upload, read_upload
from app.config import Settings
from app.domain import Box
from app.search.answer import ImageQuery, Wish, parse_condition
from app.wiring import Service


def _service(request: Request) -> Service:
    service: Service = request.app.state.opening.service()
    return service


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _request_id(request: Request) -> str:
    request_id: str = request.state.request_id
    return request_id


async def _upload(request: Request, settings: Annotated[Settings, Depends(_settings)]) -> Upload:
    return await read_upload(request, settings.server)


def _wish(
    library: Annotated[str | None, Query(description="Library to search; may be left out when there is one.")] = None,
    k: Annotated[int, Query(description="Number of neighbours, 1 to 1000.")] = 10,
    encoder: Annotated[str | None, Query(description="A loaded encoder; the default without it.")] = None,
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
        k=k,
        where=tuple(parse_condition(text) for text in where or ()),
        scores=None if scores is None else tuple(name.strip() for name in scores.split(",") if name.strip()),
        max_per_patient=max_per_patient,
        include_self=include_self,
    )


def _image_query(
    upload: Annotated[Upload, Depends(_upload)],
    frame: Annotated[int | None, Query(description="Frame of a cine, from 1; the middle one without it.")] = None,
    region: Annotated[str | None, Query(description="x0,y0,x1,y1: the scan region, half open, in pixels.")] = None,
    x_exclude_patient_id: Annotated[
        str | None, Header(description="Patient whose references are left out; hashed at once.")
    ] = None,
) -> ImageQuery:
    return ImageQuery(
        data=upload.file("image"),
        frame=frame,
        region=Box.parse(region) if region else None,
        patient_id=upload.fields.get("exclude_patient_id") or x_exclude_patient_id,
    )


ServiceDep = Annotated[Service, Depends(_service)]
SettingsDep = Annotated[Settings, Depends(_settings)]
RequestId = Annotated[str, Depends(_request_id)]
UploadDep = Annotated[Upload, Depends(_upload)]
WishDep = Annotated[Wish, Depends(_wish)]
ImageQueryDep = Annotated[ImageQuery, Depends(_image_query)]
