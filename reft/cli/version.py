"""`reft --version`: what a bug report should say."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

DISTRIBUTION = "refusal-feature-teacher"
LIBRARIES = (
    "torch", "transformers", "peft", "deepspeed", "accelerate", "datasets", "zenml", "mlflow", "great-expectations",
    "pydantic", "typer",
)  # fmt: skip


def add_to(app: typer.Typer) -> None:
    """Make the option part of `reft`."""
    app.callback()(options)


def tell(wanted: bool) -> None:
    """Print the versions and end, whatever else was asked."""
    if wanted:
        typer.echo("\n".join(f"{name:20}{found}" for name, found in versions().items()))
        raise typer.Exit


def options(
    show: Annotated[
        bool,
        typer.Option("--version", callback=tell, is_eager=True, help="of reft and its libraries, for a bug report"),
    ] = False,
) -> None:
    """Safe finetuning on data nobody has vetted."""


def versions() -> dict[str, str]:
    """What is installed, by name; read from the packages' metadata, so that nothing heavy is imported."""
    found = {"reft": _version(DISTRIBUTION), "python": platform.python_version(), "platform": platform.platform()}
    return found | {name: _version(name) for name in LIBRARIES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
