import re

import pytest

from reft.service.chart import loss_chart
from reft.service.files import RESULTS, NewFile, keep_file
from reft.service.jobs.events import say
from reft.service.names import report_key
from reft.service.routes.operator import duration
from tests.factories import EVIL
from tests.service.reviewing import job_of, quarantined, signed_in, waiting_job


@pytest.fixture(scope="module")
def job(server):
    job = waiting_job(server, quarantined("q"))
    with server.service.database.writing() as session:
        found = session.merge(job_of(server, job))
        found.suffix, found.work = EVIL, {**found.work, "costs": {"gpu_seconds": 612.5, EVIL: EVIL}}
        for step in range(1, 61):
            data = {"step": step, "total_steps": 120, "train_loss": 3 / step}
            say(session, found, f"Step {step}", mark=f"s{step}", metrics=True, data=data)
        say(session, found, f"Screened {EVIL}", level="warn")
    return job


@pytest.fixture
def olga(server):
    return signed_in(server, "olga", "ops", "operator")


def test_a_reviewer_sees_no_jobs(server, job):
    person = signed_in(server, "anna")
    for path in ("/jobs", f"/jobs/{job}", f"/jobs/{job}/files/x"):
        answer = person.get(path)
        assert answer.status_code == 403
        assert "operate" in answer.text
    assert 'href="/jobs"' not in person.get("/review").text


def test_all_organizations_jobs_are_listed_with_state_and_progress(server, job, olga):
    other = waiting_job(server, quarantined("x"), organization="else")
    text = olga.get("/jobs").text
    assert {job, other} <= set(re.findall(r"/jobs/(ftjob-\w+)", text))
    assert "waiting for review" in text
    assert "50 %" in text
    assert job in olga.get("/jobs?status=running").text
    assert job not in olga.get("/jobs?status=failed").text
    assert job in olga.get(f"/jobs?after={other}").text
    assert other not in olga.get(f"/jobs?after={other}").text
    assert olga.get("/jobs/ftjob-none").status_code == 404


def test_one_job_shows_its_loss_costs_and_events_as_text(job, olga):
    text = olga.get(f"/jobs/{job}").text
    assert "Loss by step: from 3.000 to 0.050 after 60 steps" in text
    assert len(re.findall(r"<polyline", text)) == 1
    assert "612.5" in text
    assert re.search(r"<bdi>1 min \d\d s</bdi>", text)
    assert "<script>document" not in text
    assert "<img" not in text
    assert text.count("&lt;script&gt;") == 3  # a name and a value of the costs, an event


def test_a_report_is_shown_in_a_sandbox_and_results_are_saved(server, job, olga):
    owner = job_of(server, job).organization_id
    assert "Its report" not in olga.get(f"/jobs/{job}").text
    assert olga.get(f"/jobs/{job}/report").status_code == 404
    server.service.blobs.write(report_key(job), [b"<h1>Report</h1><script>1</script>"])
    new = NewFile(organization_id=owner, filename="decisions.csv", purpose=RESULTS, derived_from="file-x")
    file = keep_file(server.service, new, [b"row\n1\n"], room=False).id
    with server.service.database.writing() as session:
        found = session.merge(job_of(server, job))
        found.result_files, found.work = [file], {**found.work, "report": True}
    assert f'href="/jobs/{job}/report"' in olga.get(f"/jobs/{job}").text
    report = olga.get(f"/jobs/{job}/report")
    assert report.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert report.headers["content-type"].startswith("text/html")
    assert report.content == b"<h1>Report</h1><script>1</script>"
    assert signed_in(server, "anna").get(f"/jobs/{job}/report").status_code == 403
    table = olga.get(f"/jobs/{job}/files/{file}")
    assert table.headers["content-disposition"] == 'attachment; filename="decisions.csv"'
    assert table.content == b"row\n1\n"
    assert olga.get(f"/jobs/{job}/files/file-none").status_code == 404


def test_a_curve_needs_two_steps_and_leaves_out_what_has_no_place():
    assert loss_chart([(1, 2.0)]) is None
    chart = loss_chart([(2, 1.0), (1, 3.0), (3, float("nan")), (4, 2.0)])
    assert chart.train == "52.0,10.0 244.7,190.0 630.0,100.0"
    flat = loss_chart([(1, 1.0), (2, 1.0)])
    assert flat.train == "52.0,100.0 630.0,100.0"
    assert len(loss_chart([(i, i) for i in range(5000)]).train.split()) <= 601


def test_time_for_people():
    assert [duration(s) for s in (5, 75, 3700)] == ["5 s", "1 min 15 s", "1 h 01 min"]
