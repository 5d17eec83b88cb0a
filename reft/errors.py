"""The errors a user can cause, each with what is wrong, where, and what to do.

To add one: inherit `ReftError` and the built-in class that it replaces, so that callers who know
only the built-in still catch it. Build the message with `explain`. All are picklable, since a
failing rank sends its error to the launching process.
"""

from collections.abc import Iterable


class ReftError(Exception):
    """Base of every error that is meant for the user; the command line prints it without a traceback."""


class ConfigurationError(ReftError, ValueError):
    """A setting is unknown, of the wrong type, or out of range."""


class WrongSettingsError(ConfigurationError):
    """Settings are wrong; `problems` holds the setting, what is wrong and the line (or None) of each."""

    problems: tuple[tuple[str, str, int | None], ...] = ()


class DataFormatError(ReftError, ValueError):
    """A file is not in a form that can be read at all."""


class DataValidationError(ReftError, ValueError):
    """The rows can be read, but too many, or the wrong ones, break a rule."""


class ModelError(ReftError, ValueError):
    """A model folder or hub id lacks something, or its architecture is not supported."""


class TrainingError(ReftError, RuntimeError):
    """Training stopped: a dead process, a loss that is not a number, a broken checkpoint."""


class ClusterError(ReftError, RuntimeError):
    """Kubernetes refused something, lost it, or cannot be reached."""


class PromotionError(ReftError, RuntimeError):
    """A version may not serve: its gate, its files or its place in the registry stand against it."""


class RegistryError(ReftError, OSError):
    """The MLflow server does not answer, or does not know or allow whoever asks."""


class StorageError(ReftError, OSError):
    """A file could not be written or read back: disk full, no permission, a damaged artifact."""


def explain(what: str, where: str, remedy: str) -> str:
    """One message in the house's order: what is wrong, where, and what to do about it."""
    return f"{what}\n  where: {where}\n  remedy: {remedy}"


def parts(error: Exception) -> tuple[str, str, str]:
    """What is wrong, where, and the remedy, of a message that `explain` built; of another one it is all the first."""
    what, _, rest = str(error).partition("\n  where: ")
    where, _, remedy = rest.partition("\n  remedy: ")
    return what, where, remedy


def listed(items: Iterable[object], most: int) -> str:
    """The first of them, for a message, and how many more there are."""
    texts = list(map(str, items))
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")
