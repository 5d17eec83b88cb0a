"""`reft serve`: the finetuning service."""

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Make the command part of `reft`."""
    app.command()(serve)


def serve(
    *,
    config: Annotated[Path | None, typer.Option(help="run configuration of the jobs; its section service")] = None,
    state: Annotated[Path | None, typer.Option(help="folder of database, files, jobs; none: .reft/service")] = None,
    host: Annotated[str | None, typer.Option(help="address to listen at; none: 127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="none: 8321; 0: any free one")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="HTTP processes; none: 1")] = None,
) -> None:
    """Serve the finetuning API that OpenAI's SDK speaks; state is made and migrated by itself."""
    from reft.service.serve import serve as run
    from reft.service.settings import read_service_settings

    settings = read_service_settings(config, state=state, host=host, port=port, workers=workers)
    run(settings, say=typer.echo)
