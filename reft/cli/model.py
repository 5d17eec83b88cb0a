"""`reft fetch-model`."""

import typer


def add_to(app: typer.Typer) -> None:
    """Make the command part of `reft`."""
    app.command("fetch-model")(fetch_model)


def fetch_model() -> None:
    """Download, check and convert the default model (once per user)."""
    from reft.models.default_model import cache_folder, fetch_default_model

    there = (cache_folder() / "model.safetensors").is_file()
    folder = fetch_default_model()
    typer.echo(f"default model {'is there already' if there else 'fetched'}: {folder}")
