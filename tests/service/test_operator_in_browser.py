"""The operator's pages as people see them: on a phone and on a desk, by day and by night, with eyes, ears and keys."""

import pytest

from reft.service.files import RESULTS, NewFile, keep_file
from reft.service.jobs.events import say
from tests.factories import EVIL
from tests.pages.browsing import DESK, NEEDS_CHROMIUM, PHONE, chromium, sticks_out, unreadable, violations
from tests.service.reviewing import job_of, key_of, quarantined, waiting_job

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]


@pytest.fixture(scope="module")
def job(server):
    """One with everything that its page can show."""
    job = waiting_job(server, quarantined("q"))
    owner = job_of(server, job).organization_id
    new = NewFile(organization_id=owner, filename="decisions.jsonl", purpose=RESULTS, derived_from="file-x")
    file = keep_file(server.service, new, [b"{}"], room=False).id
    with server.service.database.writing() as session:
        found = session.merge(job_of(server, job))
        found.suffix, found.result_files = EVIL, [file]
        found.work = {**found.work, "costs": {"gpu_seconds": 612.5}, "report": True}
        for step in range(1, 61):
            data = {"step": step, "total_steps": 120, "train_loss": 3 / step, "valid_loss": float(step % 9)}
            say(session, found, f"Step {step}", mark=f"s{step}", metrics=True, data=data)
        say(session, found, f"Screened {EVIL}", level="warn")
    return job


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.mark.parametrize(("width", "scheme"), [(PHONE, "dark"), (DESK, "light")])
def test_everybody_can_read_the_operators_pages(browser, server, job, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 850}, color_scheme=scheme)
    page = context.new_page()

    def look(path):
        if path:
            page.goto(server.url + path)
        assert sticks_out(page) == [], path
        assert unreadable(page) == [], path
        assert violations(page) == [], path

    look("/review/sign-in")
    page.get_by_label("API key").fill("wrong")
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()
    look("")
    page.get_by_label("API key").fill(key_of(server, "olga", "ops", "operator"))
    with page.expect_navigation():
        page.keyboard.press("Enter")
    for path in ("/jobs", f"/jobs/{job}", "/jobs/none"):
        look(path)
    context.close()
