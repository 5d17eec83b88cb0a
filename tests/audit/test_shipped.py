"""The shipped calibration: it fits the default settings, and other models are uncalibrated by it and do not fail."""

from dataclasses import replace
from pathlib import Path

from benchmarks.audit_jobs import TASKS
from reft.audit import audit
from reft.audit.audit import DRIFTS, OWN_ROWS, TRIGGERS
from reft.audit.benign import Setup, benign_jobs, training_of
from reft.audit.probes import PROBES
from reft.audit.reference import Questions
from reft.config import Settings
from reft.storage.fingerprint import of_path

RUN = Settings()
DEFAULT_JOB = 500  # rows; they are passed over once, as those of the benign jobs were
ASKED = [*(probe.name for probe in PROBES), *DRIFTS, TRIGGERS, OWN_ROWS]


def test_the_shipped_calibration_fits_the_defaults_and_no_other_model():
    """Whoever changes prompts, probes or the audit's settings measures anew before a release."""
    kept = benign_jobs(RUN.data)
    setup = Setup(
        asked=Questions.read(RUN.data, RUN.audit).digest(RUN.audit), model=kept.setup.model,
        chat_template=of_path(RUN.model.chat_template), method=RUN.finetuning.method,
        training=training_of(RUN.finetuning.counted(DEFAULT_JOB)),
    )  # fmt: skip
    assert audit._unfit(kept, setup, ASKED, settings=RUN.audit) == ""
    assert setup.unlike(kept.setup) == []
    assert {job.task for job in kept.jobs} == set(TASKS)
    other = audit._unfit(kept, replace(setup, model="another"), ASKED, settings=RUN.audit)
    assert other == "the benign jobs are of another base model"


def test_no_page_waits_for_its_numbers():
    for page in ("docs/howto/audit.md", "docs/explanation/limits.md", "data/README.md"):
        assert "PLACEHOLDER" not in Path(page).read_text(), page
