"""The files of a folder that hold rows, and the split that is meant."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path, PurePath
from typing import TypeVar

from reft.errors import ConfigurationError, DataFormatError, explain
from reft.storage.files import require_file

P = TypeVar("P", bound=PurePath)
# What lies beside the rows in what `save_to_disk` and the hub write, and in what people pack.
BESIDE = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"})
TEXTS = re.compile(
    r"^(readme|licen[cs]e|notice|changelog|citation)\b.*|.*\.(md|rst|txt|ya?ml|py|pdf|cff)$", re.IGNORECASE
)
SPLITS = {"train": ("train", "training"), "validation": ("validation", "valid", "val", "dev"),
          "test": ("test", "testing", "eval", "evaluation")}  # fmt: skip


def split_of(file: PurePath, folder: PurePath) -> str:
    """Which split a file's name or folder names, as the hub's loader tells it; empty where none is named."""
    words = re.split(r"[^a-z]+", file.relative_to(folder).as_posix().lower())
    return next((split for word in reversed(words) for split, names in SPLITS.items() if word in names), "")


def files_of(path: Path, split: str = "") -> tuple[list[Path], str]:
    """The files that hold rows, and a word on what was left aside ("" where nothing was).

    Args:
        split: which split of a folder; none: `train` where the folder has splits.

    Raises:
        DataFormatError: nothing is there, a link leads elsewhere, or the split is missing.
    """
    if not path.is_dir():
        require_file(path)
        return [path], ""
    files = [file for file in sorted(path.rglob("*")) if may_hold_rows(file.relative_to(path)) and file.is_file()]
    for file in files:
        _require_inside(file, path.resolve())
    # Spark leaves a file without a byte for a part without rows.
    held = [file for file in files if file.stat().st_size] or files
    found, note = of_split(held, path, split, where=str(path))
    empty = f"{count} empty {'file' if count == 1 else 'files'} left aside" if (count := len(files) - len(held)) else ""
    return found, "; ".join(filter(None, (note, empty)))


def of_split(files: Sequence[P], folder: P, split: str, *, where: str) -> tuple[list[P], str]:
    """Those files of a folder, wherever it lies, that belong to the split that is meant, and a word on the others.

    Raises:
        DataFormatError: there are no files, or the split is missing.
    """
    if not files:
        raise DataFormatError(explain("a folder without files", where, "name the folder of the shards"))
    found: dict[str, list[P]] = {}
    for file in files:
        found.setdefault(split_of(file, folder), []).append(file)
    if set(found) == {""} and not split:
        return list(files), ""
    chosen = split or "train"
    if chosen not in found:
        names = ", ".join(name or "without a name" for name in found)
        raise DataFormatError(explain(f"no split {chosen!r} (there is: {names})", where, "choose with data.split"))
    others = sorted(name or "files without a split" for name in found if name != chosen)
    return found[chosen], f"only the split {chosen} is read, not {', '.join(others)} (data.split)" if others else ""


def may_hold_rows(file: PurePath) -> bool:
    """Whether it is no file that people and libraries put beside the rows.

    Args:
        file: relative to the folder of the rows, which may itself lie in a hidden one, as the hub's cache does.
    """
    hidden = any(folder.startswith(".") for folder in file.parts[:-1])  # the hub's notes, a notebook's copies
    return not (hidden or file.name.startswith((".", "_")) or file.name in BESIDE or TEXTS.match(file.name))


def require_apart(data: str | Path, out: str | Path, results: Collection[str]) -> None:
    """See that a folder of results does not lie among the rows, where it would be read as rows the next time.

    Args:
        data, out: paths or addresses.
        results: what the results are called, without suffixes; rows of such a name in `out` would be written over.

    Raises:
        ConfigurationError: it does, or they would.
    """
    rows, folder = (str(each) if "://" in str(each) else Path(each).resolve().as_posix() for each in (data, out))
    rows, folder = (f"{each.rstrip('/')}/" for each in (rows, folder))
    if folder.startswith(rows):
        what = "a folder for the results within the folder of the rows: they would be read as rows the next time"
        raise ConfigurationError(explain(what, f"--out {out}", "name a folder outside of it with --out"))
    within = rows.removeprefix(folder) if rows.startswith(folder) else ""
    if within and re.split(r"[./]", within)[0] in results:
        what = "the results would be written over the rows that they are made of"
        raise ConfigurationError(explain(what, str(data), "name another folder with --out"))


def _require_inside(file: Path, root: Path) -> None:
    """Links may not lead out of the folder, but for the hub's own cache, whose snapshots link to its blobs."""
    real = file.resolve()
    blobs = root.parent.parent / "blobs" if root.parent.name == "snapshots" else root
    if not (real.is_relative_to(root) or real.is_relative_to(blobs)):
        raise DataFormatError(explain("a link that leads out of the folder", str(file), "copy the file there"))
