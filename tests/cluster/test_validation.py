"""`reft validate --cluster`: pods of an Indexed Job, as real processes on a store that speaks S3."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from reft.cli import app
from reft.cluster.client import JOB, ClusterClient
from reft.cluster.validation import validate_on_cluster
from reft.config import ValidationSettings
from reft.errors import ConfigurationError, TrainingError
from reft.models.tokenizers import load_tokenizer
from reft.storage.store import Store
from reft.validation import parts
from reft.validation.file import validate_file
from reft.validation.rows import Judge
from reft.validation.sharing import Shared, validate_part
from reft.validation.sorting import Rules
from tests.cluster.conftest import QUICK, ended, requests
from tests.cluster.pods import Kubelet, cluster_settings, on_s3, part_by_part, text_of
from tests.factories import row, write_jsonl
from tests.validation import hostile_rows

SETTINGS = ValidationSettings(max_bad_share=0.9, languages=["en"], max_line_mb=1)


def hostile_files(folder, size, files=2):
    """Files of about so many bytes, each of which begins with a plain row; the last row repeats the first."""
    folder.mkdir()
    lines, seed = [json.dumps(row("the same in the first file and the last", "yes"))], 0
    while sum(map(len, lines)) < files * size:
        lines += hostile_rows.lines(seed := seed + 1, 200)
    lines.append(lines[0])
    each = -(-len(lines) // files)
    for number in range(files):
        begins = json.dumps(row(f"the first of file {number}", "yes"))  # by which a file's kind is told
        text = "".join(f"{line}\n" for line in [begins, *lines[number * each : (number + 1) * each]])
        (folder / f"{number}.jsonl").write_bytes(text.encode("utf-8", "surrogateescape"))
    return folder


def rules_of(tokenizer):
    judge = Judge(tokenizer=tokenizer, settings=SETTINGS, max_length=60)
    return Rules(judge=judge, columns=None, fix=False)


in_process = part_by_part(lambda store, folder: Shared.found(store, folder, load_tokenizer), validate_part)


def same(store, whole):
    for group in ("usable", "quarantined", "left_out"):
        assert text_of(store, group) == (whole / f"{group}.jsonl").read_bytes(), group
    for name in ("findings.jsonl", "validation.json"):
        assert store.read(name) == (whole / name).read_bytes(), name
    assert store.has("docs/index.html")


@pytest.mark.slow
def test_four_processes_one_killed_twice_leave_what_one_process_leaves(jobs, bucket, tmp_path, tiny_model, tokenizer):
    folder = hostile_files(tmp_path / "rows", 1_600_000)
    on_s3(folder, f"{bucket}/in")
    jobs.kubelet = kubelet = Kubelet(tmp_path / "pods", {1: 2})
    changed = cluster_settings(tmp_path).model_dump()
    profile = {
        "cluster": changed, "validation": SETTINGS.model_dump(), "model": {"name": tiny_model, "max_length": 60},
        "data": {"task_test": None},
    }  # fmt: skip
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"parameters": {"settings": profile}}))
    command = ["validate", f"{bucket}/in", "--out", f"{bucket}/out", "--cluster", str(tmp_path / "run.yaml")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 3, done.output
    (created,) = requests(jobs, "create", "jobs")
    assert created["spec"]["completions"] == 4
    assert sorted(kubelet.starts) == [0, 1, 1, 1, 2, 3]  # the lost one alone was started again
    assert not jobs.jobs
    validate_file(folder, tmp_path / "whole", tokenizer, settings=SETTINGS, max_length=60)
    store = Store(f"{bucket}/out")
    same(store, tmp_path / "whole")
    assert not [file.name for file in store.files() if ".reft-validate" in file.name]
    assert jobs.calls == JOB.calls  # nothing is asked for that is not used


def test_what_cannot_be_read_is_named_and_the_exit_code_says_so(jobs, bucket, tmp_path, tiny_model):
    folder = tmp_path / "rows"
    folder.mkdir()
    for name in "ab":
        write_jsonl(folder / f"{name}.jsonl", [row(f"{name} {i}", f"answer {i}") for i in range(20)])
    (folder / "c.jsonl").write_bytes(b"{" * (3 << 19))
    on_s3(folder, f"{bucket}/in")
    jobs.kubelet = in_process
    profile = {
        "cluster": cluster_settings(tmp_path).model_dump(), "validation": {"max_line_mb": 1},
        "model": {"name": tiny_model}, "data": {"task_test": None},
    }  # fmt: skip
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"parameters": {"settings": profile}}))
    command = ["validate", f"{bucket}/in", "--out", f"{bucket}/out", "--cluster", str(tmp_path / "run.yaml")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 4, done.output
    assert "40 rows (jsonl): 40 usable, 0 quarantined" in done.output
    assert f"not read: {bucket}/in/c.jsonl, bytes 0 to 1048576: a line of more than 1 MB" in done.output


def test_a_part_whose_pod_dies_again_and_again_is_named_and_then_done_alone(jobs, tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(parts, "PIECES", 1)
    (tmp_path / "work").mkdir()
    data, out = hostile_files(tmp_path / "work" / "rows", 20_000, files=3), tmp_path / "work" / "out"
    settings, rules = cluster_settings(tmp_path), rules_of(tokenizer)
    client = ClusterClient("reft", QUICK, JOB)
    jobs.kubelet = lambda cluster, job: in_process(cluster, job, lost=[1])
    found = validate_on_cluster(str(data), str(out), rules, settings=settings, client=client)
    assert [(part["key"], part["offset"]) for part in found.unread_parts] == [(str(data / "1.jsonl"), 0)]
    assert "OOMKilled" in found.unread_parts[0]["what"]
    done = []
    jobs.kubelet = lambda cluster, job: (done.append(markers(out)), in_process(cluster, job))
    found = validate_on_cluster(str(data), str(out), rules, settings=settings, client=client)
    assert done == [["000000.json", "000002.json"]]
    assert not found.unread_parts
    validate_file(data, tmp_path / "whole", tokenizer, settings=SETTINGS, max_length=60)
    same(Store(str(out)), tmp_path / "whole")
    mounted = requests(jobs, "create", "jobs")[-1]["spec"]["template"]["spec"]
    assert {"name": "work", "mountPath": settings.work_mount} in mounted["containers"][0]["volumeMounts"]


def markers(out):
    return sorted(file.name for file in out.glob(".reft-validate-*/done/*.json"))


def test_where_no_part_is_done_the_log_is_shown(jobs, tmp_path, tokenizer):
    def dies(cluster, job):
        pod = cluster.pod(job["metadata"]["name"], 0, "Failed", containerStatuses=ended("Error"))
        cluster.say(pod, "error: the image is of another version")
        cluster.condition(job["metadata"]["name"], "Failed", "FailedIndexes")

    jobs.kubelet = dies
    (tmp_path / "work").mkdir()
    data = write_jsonl(tmp_path / "work" / "rows.jsonl", [row("q", "a")] * 20)
    client = ClusterClient("reft", QUICK, JOB)
    out, settings = str(tmp_path / "work" / "out"), cluster_settings(tmp_path)
    with pytest.raises(TrainingError, match=r"the Job failed[\s\S]*of another version"):
        validate_on_cluster(str(data), out, rules_of(tokenizer), settings=settings, client=client)
    assert not jobs.jobs


def test_pods_that_would_not_find_the_rows_or_have_no_image_are_refused(tmp_path, tokenizer):
    data = write_jsonl(tmp_path / "rows.jsonl", [row("q", "a")] * 20)
    rules, out = rules_of(tokenizer), str(tmp_path / "work" / "out")
    with pytest.raises(ConfigurationError, match="would not find it"):
        validate_on_cluster(str(data), out, rules, settings=cluster_settings(tmp_path))
    with pytest.raises(ConfigurationError, match=r"no image for the pods[\s\S]*cluster\.image"):
        validate_on_cluster(str(data), out, rules, settings=cluster_settings(tmp_path, image=None))


def test_names_limits_and_secrets_of_the_pods(jobs, bucket, tmp_path, tokenizer):
    on_s3(hostile_files(tmp_path / "rows", 1000, files=1), f"{bucket}/in")
    jobs.kubelet = in_process
    settings = cluster_settings(
        tmp_path, store_secret="reft-store", queue="training", service_account="reft-step", node_selector={"a": "b"},
        tolerations=[{"key": "batch", "operator": "Exists"}], env={"AWS_REGION": "eu-west-1"}, restarts=2,
    )  # fmt: skip
    client = ClusterClient("reft", QUICK, JOB)
    validate_on_cluster(f"{bucket}/in", f"{bucket}/out", rules_of(tokenizer), settings=settings, client=client)
    (job,) = requests(jobs, "create", "jobs")
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "reft-store"}}]
    assert {"name": "AWS_REGION", "value": "eu-west-1"} in container["env"]
    assert pod["volumes"] == [{"name": "tmp", "emptyDir": {"sizeLimit": "4Gi"}}]
    assert (job["spec"]["backoffLimitPerIndex"], job["spec"]["parallelism"]) == (2, 1)
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "training"
