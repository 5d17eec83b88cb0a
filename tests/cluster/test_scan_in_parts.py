"""`reft scan --cluster` from and to a store: pods of an Indexed Job, as real processes on a store that speaks S3."""

import json

import pytest
import torch
import yaml
from typer.testing import CliRunner

from reft.cli import app
from reft.cluster.client import JOB, ClusterClient
from reft.cluster.indexedjob import indexed_job
from reft.cluster.scan_in_parts import ScanRequest, scan_in_parts
from reft.config import FilteringSettings, ValidationSettings
from reft.errors import ConfigurationError, DataFormatError
from reft.filtering.overrides import Override
from reft.scan.scan import scan_file
from reft.scan.sharing import SharedScan, scan_part
from reft.scan.survey import Staging, surveyed
from reft.storage.store import Store
from reft.validation.parts import files_at
from tests.cluster.conftest import QUICK, requests
from tests.cluster.pods import Kubelet, cluster_settings, on_s3, part_by_part, text_of
from tests.factories import BREAD, HARM, build_scorer, row, write_jsonl

GROUPS = ("kept", "quarantined", "dropped", "decisions")
SETTINGS = FilteringSettings(fpr=0.05, quarantine_fpr=0.05)
A_PART = 1024  # rows: the smallest part there is


@pytest.fixture(scope="module")
def teacher(tiny_model, tmp_path_factory):
    return build_scorer(tmp_path_factory.mktemp("scorer"), tiny_model)


@pytest.fixture
def alike(monkeypatch):
    """One process here computes as a pod does: one thread, equal rows known again within a part."""
    monkeypatch.setattr("reft.scan.scan.ROWS_PER_PART", A_PART)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def lines_of(rows):
    """Rows that say the same again and again, in every part; some of them cannot be read, or are blank lines."""
    lines = []
    for i in range(rows):
        harmful = i % 9 == 0
        lines.append(json.dumps(row((HARM if harmful else BREAD).format(i % 70), "yes" if i % 5 else "no")))
        if i % 400 == 7:
            lines += ["not json", "", '{"messages": [{"role": "user", "content": "caf\udce9"}]}']
    return lines


def mixed_files(folder, rows, files=2):
    folder.mkdir()
    lines = lines_of(rows)
    each = -(-len(lines) // files)
    for number in range(files):
        text = "\n".join(lines[number * each : (number + 1) * each])  # the last line has no end
        (folder / f"{number}.jsonl").write_bytes(text.encode("utf-8", "surrogateescape"))
    return folder


def profile_in(tmp_path, **changes):
    profile = {"cluster": cluster_settings(tmp_path, scan_rows=A_PART, **changes).model_dump()}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"parameters": {"settings": profile}}))
    return str(tmp_path / "run.yaml")


def asked(teacher, **changes):
    values = {
        "filtering": SETTINGS, "teacher": teacher, "overrides": {}, "columns": None, "split": "",
        "limits": ValidationSettings(),
    }  # fmt: skip
    return ScanRequest(**{**values, **changes})


in_process = part_by_part(SharedScan.found, scan_part)


def same(store, whole, *, unlike=()):
    for group in GROUPS:
        assert text_of(store, group) == (whole / f"{group}.jsonl").read_bytes(), group
    for name in {"scan.json", "report.html"} - set(unlike):
        assert store.read(name) == (whole / name).read_bytes(), name


@pytest.mark.usefixtures("alike")
@pytest.mark.slow
@pytest.mark.night
def test_four_processes_one_killed_twice_leave_what_one_process_leaves(jobs, bucket, tmp_path, teacher):
    folder = mixed_files(tmp_path / "in", 3 * A_PART + 100)
    on_s3(folder, f"{bucket}/in")
    jobs.kubelet = kubelet = Kubelet(tmp_path / "pods", {1: 2})
    options = ["--teacher", str(teacher), "--fpr", "0.05"]
    command = ["scan", f"{bucket}/in", "--out", f"{bucket}/out", "--cluster", profile_in(tmp_path), *options]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 3, done.output
    (created,) = requests(jobs, "create", "jobs")
    assert created["spec"]["completions"] == 4
    assert sorted(kubelet.starts) == [0, 1, 1, 1, 2, 3]  # the lost one alone was started again
    assert not jobs.jobs
    alone = CliRunner().invoke(app, ["scan", str(folder), "--out", str(tmp_path / "whole"), *options])
    assert alone.exit_code == 3, alone.output
    store = Store(f"{bucket}/out")
    same(store, tmp_path / "whole")
    counts = json.loads(store.read("scan.json"))["counts"]
    assert min(counts["kept"], counts["dropped"]) > 100
    assert not [file.name for file in store.files() if ".reft-scan" in file.name]


@pytest.mark.usefixtures("alike")
@pytest.mark.slow
def test_a_part_that_is_lost_is_named_and_then_done_alone(jobs, bucket, tmp_path, teacher):
    folder = mixed_files(tmp_path / "rows", A_PART + 50)
    on_s3(folder, f"{bucket}/in")
    settings, client = cluster_settings(tmp_path, scan_rows=A_PART), ClusterClient("reft", QUICK, JOB)
    request = asked(teacher, overrides={3: Override(3, "drop", "Ada", "seen")})
    jobs.kubelet = lambda cluster, job: in_process(cluster, job, lost=[1])
    found = scan_in_parts(f"{bucket}/in", f"{bucket}/out", request, settings=settings, client=client)
    assert found.rows == sum(found.counts.values()) == A_PART
    (part,) = found.unread_parts
    assert (part["key"], part["offset"] > 0) == (f"{bucket}/in/1.jsonl", True)
    assert "OOMKilled" in part["what"]
    done = []
    jobs.kubelet = lambda cluster, job: (done.append(marked(bucket)), in_process(cluster, job))
    found = scan_in_parts(f"{bucket}/in", f"{bucket}/out", request, settings=settings, client=client)
    assert done == [["000000.json"]]
    assert not found.unread_parts
    scan_file(folder, tmp_path / "whole", scorer_of(teacher), settings=SETTINGS, overrides=request.overrides)
    same(Store(f"{bucket}/out"), tmp_path / "whole", unlike=["report.html"])


def scorer_of(teacher):
    from reft.filtering.inputs import read_inputs
    from reft.filtering.scorers import load_scorer

    return load_scorer("refusal_feature", read_inputs(teacher))


def marked(bucket):
    return sorted(file.name.rsplit("/", 1)[1] for file in Store(f"{bucket}/out").files() if "/done/" in file.name)


@pytest.mark.usefixtures("alike")
@pytest.mark.parametrize(
    "kind", ["csv", *(pytest.param(kind, marks=pytest.mark.night) for kind in ("jsonl.gz", "parquet"))]
)
@pytest.mark.slow
def test_other_kinds_leave_as_they_came(kind, jobs, bucket, tmp_path, teacher):
    import gzip

    import pyarrow as pa
    import pyarrow.parquet as pq

    asks = [(HARM if i % 9 == 0 else BREAD).format(i % 70) for i in range(A_PART + 30)]
    file = tmp_path / "in" / f"rows.{kind}"
    file.parent.mkdir()
    if kind == "csv":
        file.write_text("prompt,completion\n" + "".join(f'"{ask}",yes\n' for ask in asks))
    elif kind == "parquet":
        pq.write_table(pa.table({"prompt": asks, "completion": ["yes"] * len(asks)}), file)
    else:
        file.write_bytes(gzip.compress("".join(json.dumps(row(ask, "yes")) + "\n" for ask in asks).encode()))
    on_s3(file.parent, f"{bucket}/in")
    jobs.kubelet = in_process
    settings, client = cluster_settings(tmp_path, scan_rows=A_PART), ClusterClient("reft", QUICK, JOB)
    found = scan_in_parts(f"{bucket}/in", f"{bucket}/out", asked(teacher), settings=settings, client=client)
    assert found.counts["dropped"] > 50
    scan_file(file, tmp_path / "whole", scorer_of(teacher), settings=SETTINGS)
    store = Store(f"{bucket}/out")
    assert text_of(store, "decisions") == (tmp_path / "whole" / "decisions.jsonl").read_bytes()
    for group in GROUPS[:3]:
        if (tmp_path / "whole" / f"{group}.{kind}").is_file():
            given = store.get(f"{group}/part-000000.{kind}", tmp_path / "given" / f"{group}.{kind}")
            unpacked = gzip.decompress if kind == "jsonl.gz" else bytes
            assert unpacked(given.read_bytes()) == unpacked((tmp_path / "whole" / f"{group}.{kind}").read_bytes())


@pytest.mark.slow
def test_what_cannot_be_read_is_named_and_the_exit_code_says_so(jobs, bucket, tmp_path, teacher):
    folder = tmp_path / "rows"
    folder.mkdir()
    for name in "ac":
        write_jsonl(folder / f"{name}.jsonl", [row(BREAD.format(i), "yes") for i in range(20)])
    (folder / "d.jsonl").write_bytes(b"[1]")
    on_s3(folder, f"{bucket}/in")
    jobs.kubelet = in_process
    command = ["scan", f"{bucket}/in", "--out", f"{bucket}/out", "--cluster", profile_in(tmp_path)]
    done = CliRunner().invoke(app, [*command, "--teacher", str(teacher), "--fpr", "0.05"])
    assert done.exit_code == 4, done.output
    assert "40 rows:" in done.output
    assert f"{bucket}/in/d.jsonl, bytes 0 to 3: of another kind (json) than the first file (jsonl)" in done.output
    assert not [file.name for file in Store(f"{bucket}/out").files() if ".reft-scan" in file.name]


def test_a_line_without_end_is_named_with_its_place_and_the_rows_around_it_are_judged(bucket):
    good = json.dumps(row("how do I bake bread", "so")).encode() + b"\n"
    store, limits = Store(f"{bucket}/in"), ValidationSettings(max_line_mb=1)
    endless = good * 3 + b'{"messages": "' + b"x" * (2 << 20)
    for name, content in {"a.jsonl": good, "b.jsonl": endless, "c.jsonl": good * 2 + b"\n"}.items():
        store.write(name, content)
    files, _ = files_at(store, "")
    staging = Staging(store=Store(f"{bucket}/out"), folder="rows")
    found = surveyed(store, files, limits=limits, columns=None, rows_a_part=4, staging=staging)
    (fault,) = found.unread
    assert (fault["key"], fault["offset"], fault["end"]) == (f"{bucket}/in/b.jsonl", 3 * len(good), len(endless))
    assert "a line of more than 1 MB" in fault["what"]
    assert (found.rows, found.lines, [part.rows for part in found.parts]) == (6, 7, [4, 2])
    assert [[(p.name, p.begin, p.end) for p in part.pieces] for part in found.parts] == [
        [("a.jsonl", 0, len(good)), ("b.jsonl", 0, 3 * len(good))], [("c.jsonl", 0, 2 * len(good) + 1)],
    ]  # fmt: skip
    assert [part.first_line for part in found.parts] == [0, 4]


def test_hidden_folders_of_a_store_hold_no_rows(bucket):
    store = Store(f"{bucket}/.cache/in")
    for name in ("data/a.jsonl", "data/.ipynb_checkpoints/a-checkpoint.jsonl", ".cache/huggingface/CACHEDIR.TAG"):
        store.write(name, b"{}\n")
    assert [file.name for file in files_at(store, "")[0]] == ["data/a.jsonl"]


def test_pods_take_a_gpu_each_where_there_are_some(tmp_path):
    folders = ["s3://b/in", "s3://b/out"]
    with_gpus, without = (
        indexed_job(
            "a", ["m"], 2, folders=folders, scores=True,
            settings=cluster_settings(tmp_path, gpus_per_node=gpus, cpus=cpus),
        )["spec"]["template"]["spec"]["containers"][0]
        for gpus, cpus in ((2, 1), (0, 3))
    )  # fmt: skip
    assert with_gpus["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in without["resources"]["limits"]
    assert {"name": "OMP_NUM_THREADS", "value": "3"} in without["env"]


def test_an_address_without_a_cluster_and_an_input_without_rows_are_refused(bucket, tmp_path, teacher):
    with pytest.raises(ConfigurationError, match=r"only a cluster's pods[\s\S]*--cluster"):
        CliRunner().invoke(app, ["scan", "a.jsonl", "--out", f"{bucket}/out"], catch_exceptions=False)
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.jsonl").write_text("\n\n")
    on_s3(tmp_path / "rows", f"{bucket}/in")
    with pytest.raises(DataFormatError, match="no rows"):
        scan_in_parts(f"{bucket}/in", f"{bucket}/out", asked(teacher), settings=cluster_settings(tmp_path))
