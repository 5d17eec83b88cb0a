"""How much a file may hold: each refusal names the setting that it comes from."""

from collections.abc import Sequence
from pathlib import Path

from reft.config import ValidationSettings
from reft.errors import DataFormatError, explain

# However far it expands, less than this fills no disk.
EXPANSION_FROM = 1 << 24


class Meter:
    """What has come out of the packed files of one container, in bytes: however many they are, one limit holds.

    Attributes:
        packed: bytes of the compressed files opened so far. Parquet and Arrow are not among them: a text that all rows
            share stands there once, so that honest files expand as far as any.
    """

    def __init__(self, limits: ValidationSettings) -> None:
        self._limits, self._given, self.packed = limits, 0, 0

    def count(self, given: int, file: Path) -> None:
        """So many bytes more, out of this file.

        Raises:
            DataFormatError: that is more than the settings allow.
        """
        self._given += given
        most, times = self._limits.max_expanded_mb, self._limits.max_expansion
        if self._given > most << 20:
            what, name = f"more than {most} MB once it is decompressed", "max_expanded_mb"
        elif self.packed and self._given > max(EXPANSION_FROM, times * self.packed):
            so_far = f"({self._given >> 20} MB so far)"
            what, name = f"more than {times} times its size once it is decompressed {so_far}", "max_expansion"
        else:
            return
        instead = "decompress it first" if self.packed else "give it in parts"
        option = f"reft scan: --{name.replace('_', '-')}"
        remedy = f"if it is honest, {instead}, or raise validation.{name} ({option})"
        raise DataFormatError(explain(f"holds {what}", str(file), remedy))


def too_long(what: str, file: Path, limits: ValidationSettings) -> DataFormatError:
    """The error of a line, or whatever else holds a row, that is longer than any row that can be trained on."""
    remedy = "write one row a line, as one JSON object, or raise validation.max_line_mb"
    return DataFormatError(explain(f"{what} of more than {limits.max_line_mb} MB", str(file), remedy))


def require_few_blank(blank: int, rows: int, file: Path, *, limits: ValidationSettings) -> None:
    """See that a file is not blank lines for the most part: an honest one has one after each row, at most.

    Raises:
        DataFormatError: there are more than the settings allow.
    """
    if blank > limits.max_blank_lines + rows:
        what = f"{blank:,} blank lines beside {rows:,} rows: more than {limits.max_blank_lines:,} and one a row"
        remedy = "take the blank lines out (grep . FILE), or raise validation.max_blank_lines"
        raise DataFormatError(explain(what, str(file), remedy))


def require_few_columns(columns: int, file: Path, limits: ValidationSettings) -> None:
    """See that a table is no wider than the settings allow: every cell of a row becomes an object in memory.

    Raises:
        DataFormatError: it is.
    """
    if columns > limits.max_columns:
        what = f"a table of {columns:,} columns: more than {limits.max_columns:,}"
        remedy = "keep the columns that hold the rows' text, or raise validation.max_columns"
        raise DataFormatError(explain(what, str(file), remedy))


def require_named_apart(names: Sequence[str], file: Path, within: str = "") -> None:
    """See that no two columns, or parts of the column `within`, have one name: a row would lose the value of one.

    Raises:
        DataFormatError: two do.
    """
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        what = f"{names.count(twice)} {'parts' if within else 'columns'} of the name {twice[:60]!r}"
        where = f"{file}, column {within}" if within else str(file)
        raise DataFormatError(explain(what, where, "rename them, or keep the one that is meant"))
