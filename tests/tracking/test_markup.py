"""Names and reasons full of markup on MLflow's own pages, in a real browser: text, and no element."""

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from playwright.sync_api import sync_playwright

from reft.tracking.promotion import promote
from reft.tracking.registry import register_candidate
from tests.factories import CHROMIUM, MARKUP, model_card

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)"),
]
NAME = 's<b class=owned>n<img src=x>"q'  # MLflow takes no slash


def test_markup_is_text_on_mlflows_pages(plain_server, tmp_path):
    (folder := tmp_path / "student").mkdir()
    (folder / "gate.json").write_text("{}")
    with mlflow.start_run(run_name=MARKUP) as run:
        mlflow.log_params({"data.user": MARKUP})
        made = register_candidate(folder, NAME, {"note": MARKUP}, description=model_card(MARKUP), passed=True)
    promote(NAME, "champion", MARKUP, reason=MARKUP, version=made.version)
    model = MlflowClient().get_registered_model(NAME)
    run_page = f"experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    quoted = NAME.replace("<", "%3C").replace(">", "%3E").replace(" ", "%20").replace('"', "%22")
    pages = {
        run_page: "bold</b>", "models": model.name, f"models/{quoted}": model.name,
        f"models/{quoted}/versions/{made.version}": "bold</b>",
    }  # fmt: skip
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        for path, shown in pages.items():
            page.goto(f"{plain_server.address}/#/{path}")
            page.get_by_text(shown).first.wait_for(timeout=60_000)
            page.wait_for_timeout(1000)  # descriptions are drawn a moment later
            assert page.locator(".owned, img[src=x]").count() == 0, path
        browser.close()
