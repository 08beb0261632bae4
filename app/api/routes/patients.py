"""POST /patients/erase: everything of a patient goes."""

from fastapi import APIRouter

from app.api.dependencies import ActorDep, JsonDep, RequestId, ServiceDep
from app.api.schemas.inputs import PatientInput, json_body
from app.api.schemas.references import ErasedBody

router = APIRouter(prefix="/patients", tags=["patients"])


@router.post("/erase", openapi_extra=json_body(PatientInput, {"patient_id": ""}))
def erase_patient(service: ServiceDep, actor: ActorDep, body: JsonDep, request_id: RequestId) -> ErasedBody:
    """Remove a patient's references from all libraries: rows, vectors, frames, index points. Says what remains.

    `curl -H 'Content-Type: application/json' -d '{"patient_id": "12345"}' http://127.0.0.1:8000/patients/erase`
    """
    return ErasedBody.of(service.editor.erase(PatientInput.parse(body).patient_id, by=actor), request_id)
