"""What the protocol has and this service has not: said, with what there is instead."""

from typing import Annotated

from fastapi import APIRouter, Depends

from reft.service.access import needs
from reft.service.errors import invalid
from reft.service.keys import Caller

router = APIRouter(prefix="/v1/fine_tuning/alpha/graders", tags=["graders"])
Key = Annotated[Caller, Depends(needs("jobs"))]


@router.post("/run")
@router.post("/validate")
def graders(_: Key) -> None:
    """Graders run code that a customer sends; none runs here."""
    message = "Graders are not supported: no customer's code runs here. Supported: method.type 'supervised'."
    raise invalid(message, "grader", "unsupported_grader")
