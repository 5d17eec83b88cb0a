"""The command line: `reft ...`, a module a command (or a family of commands).

Every module has `add_to(app)`; `COMMANDS` lists them in the order of the help. Heavy libraries are imported inside the
commands, so that the help is quick. Commands read options, call the library and print: they decide nothing.
"""

from importlib import import_module

import typer

from reft.errors import ReftError
from reft.runtime.garbage import look_rarely
from reft.runtime.processes import stop_on_signals
from reft.runtime.quiet import quiet_terminal

__all__ = ["app", "main"]

COMMANDS = (
    "model", "config", "show", "scan", "validate", "plan", "cache_keys", "promotion", "evaluate", "audit",
    "retrain", "benchmark", "serve", "keys", "jobs", "version",
)  # fmt: skip
app = typer.Typer(no_args_is_help=True, help="Safe finetuning on data nobody has vetted.")
for _command in COMMANDS:
    import_module(f"reft.cli.{_command}").add_to(app)


def main() -> None:
    """Entry point: a user's error is printed without a traceback and exits with 2; libraries talk to a log file."""
    look_rarely()
    quiet_terminal()
    stop_on_signals()
    try:
        app(prog_name="reft")  # completion asks for this name, however it was started
    except ReftError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from error
