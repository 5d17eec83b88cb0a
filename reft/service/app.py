"""The HTTP application; all it holds is a `Service`."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from reft.service.access import Entrance, Serving
from reft.service.errors import answer_errors, unavailable
from reft.service.routes import (
    chat,
    files,
    jobs,
    models,
    moderations,
    operator,
    permissions,
    review,
    signing,
    unsupported,
    uploads,
    webhooks,
)
from reft.service.service import open_service
from reft.service.serving.engine import Engine
from reft.service.settings import ServiceSettings

# How `reft serve` hands its settings to the HTTP processes that uvicorn starts.
HANDED_ON = "REFT_SERVICE_JSON"
ROUTES = (
    files, uploads, jobs, permissions, models, webhooks, chat, moderations, unsupported, signing, review, operator,
)  # fmt: skip


def create_app(settings: ServiceSettings) -> FastAPI:
    """The application on this state, which is made and migrated where needed.

    Raises:
        ConfigurationError: the settings name no database or profile that there is, or a limit is none.
        StorageError: the state cannot be written.
    """
    service = open_service(settings)
    engine = Engine(service)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncGenerator[None]:
        yield
        engine.close()
        service.database.close()

    # The pages that FastAPI makes of the schema fetch their scripts from elsewhere.
    app = FastAPI(title="ReFT finetuning service", lifespan=life, docs_url=None, redoc_url=None)
    app.state.service, app.state.engine = service, engine
    for module in ROUTES:
        app.include_router(module.router)
    app.add_api_route("/healthz", _healthy, include_in_schema=False)
    app.add_api_route("/readyz", _ready, include_in_schema=False)
    answer_errors(app)
    app.add_middleware(Entrance, service=service)
    return app


def app_from_environment() -> FastAPI:
    """The application of an HTTP process that `reft serve` started."""
    return create_app(ServiceSettings.model_validate_json(os.environ[HANDED_ON]))


async def _healthy() -> dict[str, Any]:
    """This process answers: whoever starts it again for a database that is away would help nobody.

    In the event loop, since requests that wait for that database may hold every thread.
    """
    return {"status": "ok"}


def _ready(service: Serving) -> dict[str, Any]:
    """It can serve: its database answers."""
    if not service.database.answers():
        raise unavailable()
    return {"status": "ok"}
