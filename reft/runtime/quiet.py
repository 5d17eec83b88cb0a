"""A terminal that shows steps, progress, results and errors; what libraries say beside that goes into a file."""

import logging
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from reft.errors import ReftError
from reft.moved import GOES

OURS = frozenset({"reft", "steps", "pipelines"})
FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LOGS = Path(".reft/logs")
# Libraries read these when they are imported.
WITHOUT_BARS = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}


class _Shown(logging.Filter):
    """What may go to the terminal: errors, our own messages, names of ours that go, and what the caller names."""

    def __init__(self, also: re.Pattern[str] | None) -> None:
        super().__init__()
        self.also = also

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] and _words(record.exc_info[1]):
            return False  # said without a traceback at the end
        if record.levelno >= logging.ERROR or record.name.split(".")[0] in OURS:
            return True
        said = record.getMessage()
        return GOES in said or bool(self.also and self.also.match(said))


class _LogFile(logging.FileHandler):
    """Made, and its path printed, with the first line: a command with nothing to log leaves nothing."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self.setFormatter(logging.Formatter(FORM))
        self.path = path

    def _open(self) -> Any:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            stream = super()._open()
        except OSError:
            return None
        print(f"  log: {self.path}", file=sys.stderr, flush=True)
        return stream

    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk costs the log, not the work."""

    def close(self) -> None:
        with suppress(OSError):  # of lines that were not written yet
            super().close()


_now: tuple[logging.Handler, _Shown] | None = None
_hook_before = sys.excepthook
# What ends a program and needs no traceback, and how it is said.
_ends: dict[type[BaseException], str] = {ReftError: "error: {}"}


def quiet_terminal(
    folder: Path = LOGS, also: str | None = None, *, ends: Mapping[type[BaseException], str] | None = None
) -> Path | None:
    """From here on send log lines and warnings to a file of their own; its path is printed with the first.

    A user's error is printed without a traceback, as the command line does; the file holds the traceback.

    Args:
        folder: where the file goes.
        also: pattern of messages of libraries that are shown all the same.
        ends: what else ends a program without a traceback, and the words for it.

    Returns:
        The file; None, and nothing is changed, where none can be written.
    """
    global _now, _hook_before
    _ends.update(ends or {})
    if not _can_be_written(folder):  # a container whose files cannot be written: its own log is all there is
        return None
    path = folder / time.strftime(f"%Y%m%d-%H%M%S-{os.getpid()}.log")
    _now = _LogFile(path), _Shown(re.compile(also) if also else None)
    os.environ.update({name: os.environ.get(name, value) for name, value in WITHOUT_BARS.items()})
    if not any(map(_is_terminal, logging.root.handlers)):  # logging's own last resort ends with the file's handler
        logging.root.addHandler(logging.StreamHandler())
    logging.captureWarnings(True)
    if sys.excepthook is not _last_word:
        _hook_before, sys.excepthook = sys.excepthook, _last_word
    if logging.root.level > logging.INFO:
        logging.root.setLevel(logging.INFO)
    stay_quiet()
    return path


def _can_be_written(folder: Path) -> bool:
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return there.is_dir() and os.access(there, os.W_OK)


def stay_quiet() -> None:
    """Take in libraries that have been imported since `quiet_terminal`; does nothing without it."""
    if _now is None:
        return
    to_file, shown = _now
    for logger in _loggers():
        on_terminal = [handler for handler in logger.handlers if _is_terminal(handler)]
        for handler in on_terminal:
            if shown not in handler.filters:
                handler.addFilter(shown)
        # A logger that keeps its lines from the root, as MLflow's does, needs the file itself.
        kept_back = logger is logging.root or (on_terminal and not logger.propagate)
        if kept_back and to_file not in logger.handlers:
            logger.addHandler(to_file)
    transformers: Any = sys.modules.get("transformers.utils.logging")
    if transformers:
        transformers.disable_progress_bar()


def loud_again() -> None:
    """Undo `quiet_terminal`, but for the progress bars."""
    global _now
    if _now is None:
        return
    to_file, shown = _now
    for logger in _loggers():
        logger.removeHandler(to_file)
        for handler in logger.handlers:
            handler.removeFilter(shown)
    logging.captureWarnings(False)
    sys.excepthook = _hook_before
    to_file.close()
    _now = None


def _last_word(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if words := _words(error):
        print(words, file=sys.stderr, flush=True)
    else:
        _hook_before(kind, error, trace)


def _words(error: BaseException) -> str | None:
    return next((words.format(error) for kind, words in _ends.items() if isinstance(error, kind)), None)


def _loggers() -> Iterator[logging.Logger]:
    yield logging.root
    yield from (found for found in list(logging.root.manager.loggerDict.values()) if isinstance(found, logging.Logger))


def _is_terminal(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)
