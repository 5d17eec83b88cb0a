"""Names, reasons, metadata, errors and a report full of markup in ZenML's own dashboard: text, and no element.

The open dashboard has runs' pages alone: for lists of models and artifacts it names the command to ask instead.
"""

import json
import os
import signal
import subprocess
import sys

import pytest
from playwright.sync_api import sync_playwright

from tests.factories import CHROMIUM
from tests.ports import free_port
from tests.tracking.server import answers, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)"),
]
ELEMENTS = ".owned, img[src=x]"
SHOWN, NAME = "<b class=owned>bold</b><img src=x>", 's<b class=owned>n<img src=x>"q'
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"  # the dashboard asks others for pictures
# A run, what is opened of it (a step or an artifact; none: the run itself), a tab, and what it shows.
SEEN = (
    ("promoted", None, "Configuration", SHOWN),
    ("promoted", "promote", "Configuration", SHOWN),
    ("promoted", "promotion", "Visualization", NAME),
    ("failed", None, "Logs", SHOWN),
    ("failed", "promote", "Code", SHOWN),
    ("failed", "promote", "Logs", NAME),
    ("registered", "register", "Metadata", SHOWN),
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The address of each run's page on a server of its own, without accounts."""
    folder, port = tmp_path_factory.mktemp("stores"), free_port()
    environment = os.environ | {
        "ZENML_CONFIG_PATH": str(folder / "zenml"), "ZENML_REPOSITORY_PATH": str(folder),
        "ZENML_ANALYTICS_OPT_IN": "false", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "PYTHONPATH": ".",
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.pipelines.marked_up_run", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-2000:]
    # As `zenml login --local` starts it.
    environment |= {
        "ZENML_CONFIG_PATH": str(folder / "server"), "ZENML_LOCAL_STORES_PATH": str(folder / "zenml/local_stores"),
        "ZENML_SERVER": "true", "ZENML_SERVER_AUTH_SCHEME": "NO_AUTH", "ZENML_SERVER_DEPLOYMENT_TYPE": "local",
        "ZENML_SERVER_AUTO_ACTIVATE": "true", "ZENML_SERVER_ALLOW_LOCAL_FILE_ACCESS": "true",
    }  # fmt: skip
    command = [
        sys.executable, "-m", "uvicorn", "zenml.zen_server.zen_server_api:app", "--host", "127.0.0.1",
        "--port", str(port),
    ]  # fmt: skip
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), 240)
        ids = json.loads(done.stdout.splitlines()[-1])
        yield {what: f"http://127.0.0.1:{port}/projects/default/runs/{run}" for what, run in ids.items()}
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(10)


@pytest.fixture(scope="module")
def page():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", OFFLINE])
        page = browser.new_page(viewport={"width": 1600, "height": 1400})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def open_tab(page, address, *, node, tab):
    page.goto(address)
    nodes = page.locator(".react-flow__node")
    nodes.first.wait_for()
    if node:
        nodes.get_by_text(node, exact=True).first.click()
        page.get_by_role("dialog").wait_for()
    page.get_by_role("tab", name=tab).last.click()
    if tab == "Visualization":
        page.get_by_role("button", name="Load Preview").click()


@pytest.mark.parametrize("seen", SEEN, ids=lambda seen: "-".join(map(str, seen[:3])))
def test_markup_is_text_in_zenmls_dashboard(page, runs, seen):
    run, node, tab, shown = seen
    open_tab(page, runs[run], node=node, tab=tab)
    page.get_by_text(shown).last.wait_for()
    assert page.locator(ELEMENTS).count() == 0


def test_the_report_is_shown_in_a_frame_without_rights_and_holds_no_element(page, runs):
    open_tab(page, runs["registered"], node="HTMLString", tab="Visualization")
    assert page.locator("iframe").get_attribute("sandbox") == ""  # no scripts, no forms, an origin of its own
    report = page.frame_locator("iframe")
    report.get_by_text(SHOWN).first.wait_for()
    assert report.locator(".owned, img").count() == 0
    assert page.locator(ELEMENTS).count() == 0


@pytest.mark.parametrize(("where", "shown"), [("artifacts", "zenml artifact list"), ("models", "zenml model list")])
def test_there_are_no_lists_of_names(page, runs, *, where, shown):
    page.goto(runs["promoted"].split("/runs")[0] + f"/{where}")
    page.get_by_text(shown).wait_for()
    assert page.locator(ELEMENTS).count() == 0
