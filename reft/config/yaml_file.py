"""YAML as people write it: read whole, with the line of every key, and refused where a key is given twice."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import ReaderError

from reft.errors import ConfigurationError, DataFormatError, explain, parts
from reft.storage.files import read_small
from reft.wording import DEEPEST

LONGEST = 100  # digits of a key; Python writes none of thousands
MOST = 100_000  # keys and values of a file, those that aliases repeat as often as they stand there


@dataclass(frozen=True)
class YamlFile:
    """What a file holds (None: nothing), and the line (from 1) of every key by its path, as ("parameters", "settings", "seed")."""

    path: Path
    value: Any
    lines: Mapping[tuple[Any, ...], int] = field(default_factory=dict)


def read_yaml(path: Path) -> YamlFile:
    """Read a file of one YAML document.

    Raises:
        ConfigurationError: it is missing, no file, no UTF-8, no YAML, gives a key twice, or its aliases make it
            endless or vast; names the line where it can.
    """
    text = _text(path)
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return YamlFile(path, None)
        if sum(1 for _ in islice(_unfolded(node, path), MOST + 1)) > MOST:
            what = f"more than {MOST:,} keys and values, those that aliases (*name) repeat counted each time"
            raise _refused(what, path, "write fewer, or repeat less by aliases")
        lines = dict(_keys(node, path))
        return YamlFile(path, loader.construct_document(node), lines)
    except ConfigurationError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = ", ".join(part for part in (error.context, error.problem) if part)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise _refused(
            f"not YAML: {words}", where, "mend that line; indent with spaces, quote text with : or #"
        ) from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        remedy = "remove the character, or write it as an escape within double quotes"
        what = f"a control character that YAML does not allow (U+{ord(text[error.position]):04X})"
        raise _refused(what, f"{path}, line {line}", remedy) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        remedy = "put text that only looks like one within quotes"
        raise _refused("a date or a number that there is not, as 2026-02-31", path, remedy) from error
    except RecursionError as error:
        raise _refused("nested too deeply", path, "name a file shaped like zenml.yaml") from error


def _text(path: Path) -> str:
    raw = b""
    try:
        raw = read_small(path)
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        what = f"not UTF-8 text: byte 0x{raw[error.start]:02x} cannot be read"
        raise _refused(what, f"{path}, line {line}", "save the file as UTF-8") from error
    except DataFormatError as error:
        what, where, remedy = parts(error)
        hint = "" if path.exists() else "; reft write-config writes one to start from"
        raise _refused(what, where, remedy + hint) from error
    except OSError as error:
        raise _refused(f"cannot be read: {error.strerror}", path, "name a file that may be read") from error


def _unfolded(node: yaml.Node, path: Path, above: frozenset[int] = frozenset()) -> Iterator[yaml.Node]:
    """Every node, those that aliases repeat each time: whatever follows the settings goes where this goes."""
    where = f"{path}, line {node.start_mark.line + 1}"
    if id(node) in above:
        raise _refused("an anchor (&name) that holds its own alias (*name)", where, "take the alias out of it")
    if len(above) > DEEPEST:
        raise _refused("nested too deeply", where, "name a file shaped like zenml.yaml")
    yield node
    if isinstance(node, yaml.CollectionNode):
        within = chain.from_iterable(node.value) if isinstance(node, yaml.MappingNode) else node.value
        for item in within:
            yield from _unfolded(item, path, above | {id(node)})


def _keys(root: yaml.Node, path: Path) -> Iterator[tuple[tuple[Any, ...], int]]:
    """Every key's path and line; what an alias repeats counts where it stands first."""
    waiting: list[tuple[tuple[Any, ...], yaml.Node]] = [((), root)]
    seen: set[int] = set()
    while waiting:
        place, node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += [((*place, index), item) for index, item in enumerate(node.value)]
            yield from (((*place, index), item.start_mark.line + 1) for index, item in enumerate(node.value))
        elif isinstance(node, yaml.MappingNode):
            first: dict[tuple[str, str], int] = {}
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    continue  # refused when the document is made
                name, line = (key.tag, key.value), key.start_mark.line + 1
                if key.tag.endswith(":int") and len(key.value) > LONGEST:
                    raise _refused("a number of many digits where a name is wanted", f"{path}, line {line}", "name it")
                if name in first:
                    what = f"{'.'.join(map(str, (*place, key.value)))} is given twice, first in line {first[name]}"
                    raise _refused(what, f"{path}, line {line}", "keep one of the two")
                first[name] = line
                waiting.append(((*place, key.value), value))
                yield (*place, key.value), line


def _refused(what: str, where: str | Path, remedy: str) -> ConfigurationError:
    return ConfigurationError(explain(what, str(where), remedy))
