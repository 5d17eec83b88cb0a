"""Files of every kind are told by their content, read row by row, and leave as they came."""

import csv
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft.conversations import containers, limits
from reft.conversations.containers import lines, recognise
from reft.conversations.reading import read_rows
from reft.conversations.writer import give_back, stage
from reft.errors import DataFormatError

ROWS = [{"instruction": f"say {i}\nplease", "input": "", "output": f'word, "{i}" \u00e9\u2028'} for i in range(7)]
KINDS = ("jsonl", "json", "csv", "tsv", "parquet", "arrow", "stream", "jsonl.gz", "csv.gz", "json.zst", "jsonl.zst")


def write(path, kind, rows=ROWS):
    """The rows as a file whose name says nothing."""
    kind, _, packed = kind.partition(".")
    table = pa.Table.from_pylist(rows)
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=3)
        return path
    if kind in ("arrow", "stream"):
        with (pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream)(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
        return path
    if kind in ("csv", "tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if kind == "tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "json":
        path.write_text(json.dumps(rows, indent=2, ensure_ascii=False), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    if packed:
        data = path.read_bytes()
        with pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), {"gz": "gzip", "zst": "zstd"}[packed]) as output:
            output.write(data)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_and_given_back(tmp_path, kind):
    path = write(tmp_path / "upload", kind)
    found = recognise(path)
    assert [json.loads(line) for line in lines(found)] == ROWS
    rows = list(read_rows(path))
    assert [row.instruction for row in rows] == [row["instruction"] for row in ROWS]
    assert [row.row for row in rows] == list(range(7))
    # Sorted into two groups and read again, they are the same rows in the same form.
    out = tmp_path / "out"
    staged = list(lines(stage(found, out / "in")))
    groups = np.array([0, 1, 0, 0, 1, 0, 0], np.uint8)
    out.mkdir(exist_ok=True)
    for index, name in enumerate(("kept", "gone")):
        (out / f"{name}.jsonl").write_text(
            "".join(line + "\n" for line, g in zip(staged, groups, strict=True) if g == index), encoding="utf-8"
        )
    written = give_back(found, out, ("kept", "gone"), group_of=groups)
    for index, target in enumerate(written):
        again = recognise(target)
        assert (again.kind, again.compression, again.columns) == (found.kind, found.compression, found.columns)
        back = [json.loads(line) for line in lines(again)]
        assert back == [row for row, g in zip(ROWS, groups, strict=True) if g == index]
        assert all(list(row) == list(ROWS[0]) for row in back)


def test_shards_of_plain_lines_leave_as_one_file_of_all_rows(tmp_path):
    for number in range(2):
        write(tmp_path / f"part-{number}", "jsonl", ROWS[4 * number : 4 * number + 4])
    found, out = recognise(tmp_path), tmp_path / "out"
    stage(found, out)
    (out / "kept.csv").touch()  # of an earlier scan, of another kind
    os.replace(out / "rows.jsonl", out / "kept.jsonl")
    assert give_back(found, out, ("kept",), group_of=np.zeros(7, np.uint8)) == [out / "kept.jsonl"]
    assert [path.name for path in out.iterdir()] == ["kept.jsonl"]
    assert [json.loads(line) for line in lines(recognise(out / "kept.jsonl"))] == ROWS


@pytest.mark.parametrize("header", ["unreadable line,text", "unreadable line,prompt"])
def test_no_header_makes_rows_into_lines_that_could_not_be_read(tmp_path, header):
    text = f"{header},more\n" + '3: x,=A1,"a\nb"\n'
    (tmp_path / "rows.csv").write_text(text + '"open,b,c\n')
    found, out = recognise(tmp_path / "rows.csv"), tmp_path / "out"
    os.replace(stage(found, out).files[0], out / "gone.jsonl")
    (written,) = give_back(found, out, ("gone",), group_of=np.zeros(2, np.uint8), for_people=("gone",))
    assert written.read_text() == text.replace("=A1", "'=A1") + '"open,b,c\n'
    assert [row.code for row in read_rows(tmp_path / "rows.csv")][-1] == "broken_table_row"


@pytest.mark.parametrize(
    ("header", "keys"),
    [
        (",index,prompt,completion", ["index_2", "index", "prompt", "completion"]),  # pandas: reset_index().to_csv()
        ("index_2,index, ,Prompt,completion", ["index_2", "index", "index_3", "prompt", "completion"]),
        (",prompt,completion,,", ["index", "prompt", "completion", "index_2", "index_3"]),
    ],
)
def test_columns_without_a_name_lose_no_cell(tmp_path, header, keys):
    text = header + "\n" + "".join(",".join(f"{n} {key}" for key in keys) + "\n" for n in range(2))
    (tmp_path / "rows.csv").write_text(text)
    found, out = recognise(tmp_path / "rows.csv"), tmp_path / "out"
    assert [json.loads(line) for line in lines(found)] == [{key: f"{n} {key}" for key in keys} for n in range(2)]
    assert [row.instruction for row in read_rows(tmp_path / "rows.csv")] == ["0 prompt", "1 prompt"]
    os.replace(stage(found, out).files[0], out / "kept.jsonl")
    (written,) = give_back(found, out, ("kept",), group_of=np.zeros(2, np.uint8))
    assert written.read_text() == text


def test_tables_keep_their_types(tmp_path):
    table = pa.table({"prompt": ["a", "b"], "completion": ["c", "d"], "weight": pa.array([1, None], pa.int8()),
                      "when": pa.array([0, 1], pa.timestamp("ms"))})  # fmt: skip
    pq.write_table(table, tmp_path / "in.parquet")
    found = recognise(tmp_path / "in.parquet")
    stage(found, tmp_path / "staged")
    (target, empty) = give_back(found, tmp_path, ("kept", "gone"), group_of=np.zeros(2, np.uint8))
    assert pq.read_table(target).equals(table)
    assert pq.read_table(empty).schema == table.schema


def test_half_a_character_in_a_typed_column_is_a_bad_row_and_text_that_is_none_is_told_by_its_column(tmp_path):
    # As `datasets` keeps values of several kinds: each cell is JSON, which may spell what is no UTF-8.
    rows = pa.table({"prompt": ["a", "b"], "completion": ["c", "d"], "more": ['"fine"', r'"half: \ud800"']})
    pq.write_table(rows, tmp_path / "rows")
    good, bad = read_rows(tmp_path / "rows")
    assert [unread.text for unread in good.unread] == ["fine"]
    assert (bad.code, bad.field) == ("encoding", "more")
    assert stage(recognise(tmp_path / "rows"), tmp_path / "staged").files[0].read_text().isascii()

    offsets, content = pa.array([b"caf\xe9", b"tea"], pa.binary()).buffers()[1:]
    latin = pa.StringArray.from_buffers(2, offsets, content)
    pq.write_table(pa.table({"prompt": latin, "completion": ["c", "d"]}), tmp_path / "latin")
    with pytest.raises(DataFormatError, match=r"(?s)cannot be read.*UTF8.*latin, column prompt.*remedy"):
        list(read_rows(tmp_path / "latin"))


def test_a_folder_of_shards_is_one_set_of_rows(tmp_path):
    for number in (2, 1):
        write(tmp_path / f"part-{number}", "jsonl", ROWS[3 * (number - 1) : 3 * number])
    assert [json.loads(line) for line in lines(recognise(tmp_path))] == ROWS[:6]
    write(tmp_path / "part-3", "csv")
    with pytest.raises(DataFormatError, match="several kinds"):
        recognise(tmp_path)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_what_lies_in_hidden_folders_is_no_row(tmp_path, kind):
    root = tmp_path / ".cache" / "set"  # the folder itself may lie in a hidden one
    notes, copies = root / ".cache" / "huggingface" / "download" / "data", root / "data" / ".ipynb_checkpoints"
    for folder in (notes, copies):
        folder.mkdir(parents=True)
    name = f"a.{kind}"
    write(root / "data" / name, kind, ROWS[:3])  # as `snapshot_download(local_dir=...)` leaves it
    (notes / f"{name}.metadata").write_text("0f1e2d\n9c8b7a\n1700000000.0\n")
    (notes / f"{name}.lock").touch()
    (root / ".cache" / "huggingface" / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
    write(copies / f"a-checkpoint.{kind}", kind, ROWS[:3])
    assert [(row.row, row.instruction) for row in read_rows(root)] == [
        (number, row["instruction"]) for number, row in enumerate(ROWS[:3])
    ]


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "rows").mkdir()
    write(tmp_path / "rows" / "a", "jsonl")
    write(tmp_path / "secret", "jsonl")
    os.symlink(tmp_path / "secret", tmp_path / "rows" / "b")
    with pytest.raises(DataFormatError, match="leads out of the folder"):
        recognise(tmp_path / "rows")


def test_items_that_cross_blocks_are_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "BLOCK", 7)
    path = write(tmp_path / "rows", "json")
    assert [json.loads(line) for line in lines(recognise(path))] == ROWS


NO_TEXT = pa.Array.from_buffers(
    pa.string(), 1, [None, pa.py_buffer(bytes([0, 0, 0, 0, 2, 0, 0, 0])), pa.py_buffer(b"\xff\xfe")]
)
UNTOLD = {
    "year": pa.array([253402300800000], pa.timestamp("ms")),
    "days": pa.array([2**31 - 1], pa.date32()),
    "zone": pa.array([0], pa.timestamp("us", "No/Where")),
    "map": pa.array([[(b"k", 1)]], pa.map_(pa.binary(), pa.int64())),
    "text": NO_TEXT,
}


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize("name", UNTOLD)
def test_a_cell_that_cannot_be_told_is_explained_by_its_column(tmp_path, name, kind):
    table, file = pa.table({"prompt": ["a"], "completion": ["b"], name: UNTOLD[name]}), tmp_path / f"rows.{kind}"
    with pq.ParquetWriter(file, table.schema) if kind == "parquet" else pa.ipc.new_file(str(file), table.schema) as out:
        out.write_table(table)
    with pytest.raises(DataFormatError, match=rf"(?s)cannot be read.*rows\.{kind}, column {name}\n.*cast the column"):
        list(read_rows(file))


@pytest.mark.parametrize("note", [b"{", b"[]", b"\xff", b'{"info": 3}', b'{"info": {"features": {"turns": 3}}}'])
def test_a_note_that_the_datasets_library_did_not_write_is_none(tmp_path, note):
    table = pa.table({"prompt": ["a"], "completion": ["b"], "turns": [["c"]]})
    pq.write_table(table.replace_schema_metadata({b"huggingface": note}), tmp_path / "rows.parquet")
    assert [json.loads(line)["turns"] for line in lines(recognise(tmp_path / "rows.parquet"))] == [["c"]]


def test_an_arrow_file_of_one_batch_is_taken_some_rows_at_a_time(tmp_path):
    table = pa.table({"prompt": [f"q {i}" for i in range(5000)], "completion": ["a"] * 5000})
    for name, make in (("file", pa.ipc.new_file), ("stream", pa.ipc.new_stream)):
        with make(str(tmp_path / name), table.schema) as out:
            out.write_table(table)
        found = recognise(tmp_path / name)
        taken = list(containers.batches(tmp_path / name, found, limits.Meter(found.limits)))
        assert max(map(len, taken)) <= containers.CELLS_AT_ONCE // containers.WIDE
        assert pa.Table.from_batches(taken).equals(table)
