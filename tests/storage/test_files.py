"""Files that lie elsewhere, on a real S3 server that runs here."""

import json
from pathlib import Path

import pytest

from reft.config import DataSettings
from reft.conversations.reading import read_rows
from reft.errors import DataFormatError, StorageError
from reft.filtering.overrides import read_overrides
from reft.storage.files import local_copy
from reft.validation.labels import labels_of
from tests.s3 import bucket_here

ROWS = [{"prompt": f"q {i}", "completion": f"a {i}"} for i in range(5)]


@pytest.fixture
def bucket():
    """The address of a bucket on a server of its own."""
    with bucket_here() as address:
        yield address


def test_rows_on_s3_are_fetched(bucket, tmp_path):
    import fsspec

    with fsspec.open(f"{bucket}/data.jsonl", "w") as file:
        file.write("".join(json.dumps(row) + "\n" for row in ROWS))
    path = local_copy(f"{bucket}/data.jsonl", tmp_path)
    assert [row.instruction for row in read_rows(path)] == [row["prompt"] for row in ROWS]
    with pytest.raises(DataFormatError, match="could not be fetched"):
        local_copy(f"{bucket}/gone.jsonl", tmp_path)


@pytest.mark.slow
def test_a_hub_id_that_is_not_there_says_so(tmp_path):
    with pytest.raises(DataFormatError, match=r"no such file, and no data set of the hub"):
        local_copy("nobody/nothing-of-this-name", tmp_path)


def test_a_local_path_stays_as_it_is(tmp_path):
    assert local_copy("data/user/banking77.jsonl", tmp_path).is_file()
    assert str(local_copy("somewhere/else.jsonl", tmp_path)) == "somewhere/else.jsonl"
    (tmp_path / "x").write_text("{}")
    assert local_copy(f"file://{tmp_path}/x", tmp_path / "o").read_text() == "{}"


def test_a_device_is_no_file_by_its_address_either(tmp_path):
    with pytest.raises(DataFormatError, match=r"a device, not a file"):
        local_copy("file:///dev/zero", tmp_path)
    assert not list(tmp_path.iterdir())


def test_overrides_and_labels_are_files(tmp_path):
    with pytest.raises(DataFormatError, match=r"a device, not a file"):
        read_overrides(Path("/dev/zero"))
    with pytest.raises(DataFormatError, match=r"a device, not a file"):
        labels_of(DataSettings(user_labels="/dev/zero"))
    with pytest.raises(DataFormatError, match=r"a folder, not a file"):
        read_overrides(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff", "not UTF-8 text"),
        (b"[" * 5000, "not an override: "),
        (b'{"row": [0]}', "not an override: "),
        *(
            (
                b'\n{"row": %s, "decision": "drop", "by": "x", "reason": "y"}' % row,
                "not an override: row must be a whole number",
            )
            for row in (b"true", b"null", b"[3]", b'"3"', b"-1", b"3.5", b"3.0", b"NaN")
        ),
    ],
)
def test_overrides_that_are_none_are_told(tmp_path, content, said):
    (tmp_path / "o.jsonl").write_bytes(content)
    with pytest.raises(StorageError, match=f"^{said}.*\n  where: {tmp_path / 'o.jsonl'}"):
        read_overrides(tmp_path / "o.jsonl")


def test_a_wrong_override_is_told_by_its_line_and_blank_lines_are_none(tmp_path):
    file, good = tmp_path / "o.jsonl", {"row": 0, "decision": "drop", "by": "x", "reason": "one\u2028two"}
    file.write_text("\ufeff" + json.dumps(good, ensure_ascii=False) + "\n\n")
    assert read_overrides(file)[0].reason == good["reason"]
    file.write_text(json.dumps({**good, "by": "\ud800", "reason": "half \udc80"}))
    assert (read_overrides(file)[0].by, read_overrides(file)[0].reason) == (r"\ud800", r"half \udc80")
    file.write_text(json.dumps(good) + "\n\n" + json.dumps({**good, "row": "3"}) + "\n")
    with pytest.raises(StorageError, match=r"o\.jsonl, line 3\n"):
        read_overrides(file)


@pytest.mark.parametrize("line", ["x", '{"row": 1}', '{"label": "harmful"}', "[]", "3", '{"row": 1.5, "label": "a"}'])
def test_a_wrong_label_is_told_by_its_line_and_blank_lines_are_none(tmp_path, line):
    file = tmp_path / "l.jsonl"
    file.write_text('\n{"row": 1, "label": "harmful"}\n \n')
    assert labels_of(DataSettings(user_labels=str(file))) == {1: "harmful"}
    with file.open("a") as more:
        more.write(line)
    with pytest.raises(DataFormatError, match=r"(?s)not a label.*l\.jsonl, line 4\n.*harmless"):
        labels_of(DataSettings(user_labels=str(file)))
