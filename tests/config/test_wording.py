"""What people read of wrong profiles: the file, the line, the setting, what was given and what is wanted."""

import json
import os
import stat
from pathlib import Path

import pytest

from reft.config import parse_settings, read_profile, yaml_file
from reft.config.yaml_file import read_yaml
from reft.errors import ConfigurationError, WrongSettingsError
from reft.storage.files import SMALL

OF_PYTHON = ("NoneType", "dict", "Input should", "Settings", "Errno", "valid ", "Traceback", "validation error", "str'")
HEAD = "parameters:\n  settings:\n"


def refused(tmp_path: Path, content: str | bytes) -> str:
    """What is said of a profile; the file is named, and no word is Python's."""
    path = tmp_path / "mine.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigurationError) as error:
        read_profile(path)
    said = str(error.value)
    assert f"where: {path}" in said
    assert not [word for word in OF_PYTHON if word in said.replace(str(path), "")]
    return said.replace(str(path), "mine.yaml")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("    sed: 1\n", "sed (line 3): no such setting; did you mean seed?"),
        ("    teacher:\n      epoch: 1\n", "teacher.epoch (line 4): no such setting; did you mean epochs?"),
        (
            "    teacher:\n      lora:\n        rnak: 1\n",
            "teacher.lora.rnak (line 5): no such setting; did you mean rank?",
        ),
        (
            "    cluster:\n      tolerations:\n      - kye: a\n",
            "cluster.tolerations.0.kye (line 5): no such setting; did you mean key?",
        ),
        (
            "    tracking:\n      zzz: 1\n",
            "tracking.zzz (line 4): no such setting; there are registered_name, runs_folder, screening_folder",
        ),
        ("    seed: -1\n", "seed (line 3): -1 is given; wanted: a whole number, at least 0"),
        ("    seed: 1.5\n", "seed (line 3): 1.5 is given; wanted: a whole number, at least 0"),
        ("    seed: .inf\n", "seed (line 3): .inf is given; wanted: a whole number, at least 0"),
        ("    teacher: 5\n", "teacher (line 3): 5 is given; wanted: a section of keys"),
        ("    teacher:\n", "teacher (line 3): nothing is given; wanted: a section of keys"),
        ("    data:\n      user: [a]\n", "data.user (line 4): a list is given; wanted: text"),
        ("    model:\n      name: null\n", "model.name (line 4): nothing is given; wanted: text"),
        (
            "    teacher:\n      lora: {dropout: much}\n",
            'teacher.lora.dropout (line 4): "much" is given; wanted: a number, at least 0, at most 1',
        ),
        (
            "    teacher:\n      depth: .nan\n",
            "teacher.depth (line 4): .nan is given; wanted: a number, more than 0, at most 1, or null",
        ),
        ("    teacher:\n      lam: .inf\n", "teacher.lam (line 4): .inf is given; wanted: a number, at least 0"),
        (
            "    filtering:\n      scorer_settings: {deep: [1, -.inf]}\n",
            "filtering.scorer_settings (line 4): deep.1: -.inf is given; wanted: a number",
        ),
        (
            "    finetuning:\n      zero_stage: 7\n",
            "finetuning.zero_stage (line 4): 7 is given; wanted: one of 0, 1, 2, 3",
        ),
        (
            "    finetuning:\n      lora: {target_modules: {a: 1}}\n",
            "finetuning.lora.target_modules (line 4): a section of keys is given; wanted: text, or a list (each item: "
            "text)",
        ),
        (
            "    finetuning:\n      method: reff\n",
            "finetuning.method (line 4): there is no method reff; did you mean reft?",
        ),
        (
            "    finetuning:\n      deepspeed: nowhere.json\n",
            "finetuning.deepspeed (line 4): the file nowhere.json cannot be read: no such file",
        ),
        (
            "    finetuning:\n      deepspeed: /dev/null\n",
            "finetuning.deepspeed (line 4): the file /dev/null cannot be read: a device, not a file",
        ),
        (
            f"    validation:\n      max_bad_share: 0x{'F' * 5000}\n",
            f"validation.max_bad_share (line 4): 0x{'f' * 58}... is given; wanted: a number, at least 0, at most 1",
        ),
        (
            f"    seed: -0x{'F' * 5000}\n",
            f"seed (line 3): -0x{'f' * 57}... is given; wanted: a whole number, at least 0",
        ),
        (
            f"    seed: 0x{'F' * 5000}\n",
            f"seed (line 3): 0x{'f' * 58}... is given; wanted: a number of at most 64 bits",
        ),
        (
            "    filter:\n      fpr: 2\n",
            "filtering.fpr (line 4): 2 is given; wanted: a number, more than 0, less than 1",
        ),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:the setting")
def test_a_setting_is_told_with_its_line(tmp_path, settings, said):
    assert refused(tmp_path, HEAD + settings).splitlines()[0] == said


def test_every_problem_is_told_once_and_kept_for_programs(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(HEAD + "    seed: -1\n    gate: {margn: 0}\n")
    with pytest.raises(WrongSettingsError) as error:
        read_profile(path)
    assert error.value.problems == (
        ("seed", "-1 is given; wanted: a whole number, at least 0", 3),
        ("gate.margn", "no such setting; did you mean margin?", 4),
    )
    assert len(str(error.value).splitlines()) == 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (HEAD + "    seed: 1\n    seed: 2\n", ("parameters.settings.seed is given twice, first in line 3", "line 4")),
        (
            HEAD + '    teacher:\n      lora:\n        rank: 1\n        "rank": 2\n',
            ("parameters.settings.teacher.lora.rank is given twice, first in line 5", "line 6"),
        ),
        ("a: 1\na: 2\n", ("a is given twice, first in line 1", "line 2")),
        (
            HEAD + "    cluster:\n      tolerations:\n      - {key: a, key: b}\n",
            ("parameters.settings.cluster.tolerations.0.key is given twice, first in line 5", "line 5"),
        ),
        (HEAD.encode() + b"    # caf\xe9\n", ("not UTF-8 text: byte 0xe9 cannot be read", "line 3")),
        ("a: 1\nb: \x01\n", ("a control character that YAML does not allow (U+0001)", "line 2")),
        ("a: [\n", ("not YAML: while parsing a flow node", "line 2")),
        ("a: 2026-02-31\n", ("a date or a number that there is not, as 2026-02-31", "mine.yaml")),
        (f"? 0x{'F' * 5000}\n: 1\n", ("a number of many digits where a name is wanted", "line 1")),
        ("x: 1\ny: &a [1, *a]\n", ("an anchor (&name) that holds its own alias (*name)", "line 2")),
        ("y: &a\n  b: {<<: *a}\n", ("an anchor (&name) that holds its own alias (*name)", "line 1")),
        ("x: 1\ny: " + "[" * 110 + "]" * 110, ("nested too deeply", "line 2")),
        ("", ("the file is empty", "mine.yaml")),
        ("# nothing\n", ("the file is empty", "mine.yaml")),
        ("just text\n", ('"just text" is given; wanted: a section of keys', "mine.yaml")),
        ("paramters:\n  settings: {}\n", ("paramters (line 1): no such key; did you mean parameters?", "mine.yaml")),
        ("parameters: {}\nenable_cahce: false\n", ("enable_cahce (line 2): no such key; did you mean enable", "")),
        ("parameters: {}\n", ("there are no settings under parameters", "mine.yaml")),
        ("parameters:\n", ("under parameters, nothing is given; wanted: a section with the key settings", "")),
        ("parameters:\n  setings: {}\n", ("setings (line 2): no such setting; did you mean settings?", "")),
        ("parameters:\n  settings: [1]\n", ("settings: a list is given; wanted: a section of keys", "mine.yaml")),
    ],
)  # fmt: skip
def test_a_file_is_told_with_its_line(tmp_path, content, said):
    first, where = refused(tmp_path, content).splitlines()[:2]
    assert first.startswith(said[0])
    assert where.endswith(said[1])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone.yaml", "no such file"),
        (".", "a folder, not a file"),
        ("socket", "a socket, not"),
        ("/dev/null", "a device, not a file"),
    ],
)
def test_a_profile_that_is_no_file(tmp_path, name, said):
    os.mknod(tmp_path / "socket", stat.S_IFSOCK | 0o600)
    with pytest.raises(ConfigurationError, match=f"^{said}.*\n  where: {tmp_path / name}\n"):
        read_profile(tmp_path / name)


def test_a_profile_of_more_bytes_than_people_write_is_not_read(tmp_path):
    assert refused(tmp_path, "#" * (SMALL + 1)).startswith("more than the 4,194,304 bytes that are read of such a file")


@pytest.mark.parametrize("alias", ["{k: *a, l: *a, m: *a}", "{<<: [*a, *a, *a]}"])
def test_what_aliases_repeat_is_counted_each_time(tmp_path, monkeypatch, alias):
    monkeypatch.setattr(yaml_file, "MOST", 100)
    levels = [
        f"{name}: &{name} {alias.replace('*a', f'*{before}')}\n" for before, name in zip("abc", "bcd", strict=True)
    ]
    path = tmp_path / "mine.yaml"
    path.write_text("a: &a {n: 1}\n" + levels[0])
    assert set(read_yaml(path).value) == {"a", "b"}
    assert refused(tmp_path, "a: &a {n: 1}\n" + "".join(levels)).startswith("more than 100 keys and values")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 5000, "the file ds.json is nested too deeply"),
        ('{"a": ' + "[" * 110 + "]" * 110 + "}", "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "the file ds.json holds a number of too many digits"),
        ("{", "the file ds.json is not JSON: Expecting property name enclosed in double quotes"),
    ],
)
def test_a_deepspeed_file_that_cannot_be_taken(tmp_path, monkeypatch, content, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ds.json").write_text(content)
    told = refused(tmp_path, HEAD + "    finetuning:\n      deepspeed: ds.json\n")
    assert told.startswith(f"finetuning.deepspeed (line 4): {said}")


def test_anchors_merges_and_keys_of_zenml_are_taken(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "\ufeffx-lora: &lora {rank: 4, alpha: 8}\nenable_cache: false\n" + HEAD + "    teacher:\n"
        "      lora: {<<: *lora, alpha: 16}\n    finetuning:\n      lora: *lora\n",
        encoding="utf-8",
    )
    settings = read_profile(path)
    assert (settings.teacher.lora.rank, settings.teacher.lora.alpha) == (4, 16)
    assert settings.finetuning.lora.alpha == 8


def test_settings_without_a_file_name_none():
    with pytest.raises(ConfigurationError, match=r"^seed: -1 is given.*\n  where: the settings of the run\n"):
        parse_settings(json.loads('{"seed": -1}'))
