"""Where a job works: its files while it runs, and the words of its pipeline afterwards."""

from dataclasses import dataclass
from pathlib import Path

from reft.service.settings import ServiceSettings


@dataclass(frozen=True)
class JobFolder:
    """The folder of one job; it goes when the job has ended, since what was worth keeping lies in the files."""

    root: Path
    log: Path

    @property
    def rows(self) -> Path:
        """The training file, as it was uploaded."""
        return self.root / "rows"

    @property
    def validation(self) -> Path:
        """The validation file."""
        return self.root / "validation"

    @property
    def profile(self) -> Path:
        """The run configuration of its pipeline."""
        return self.root / "run.yaml"

    @property
    def overrides(self) -> Path:
        """What reviewers decided."""
        return self.root / "overrides.jsonl"

    @property
    def trainings(self) -> Path:
        """The checkpoints of a training, and its metrics."""
        return self.root / "trainings"

    @property
    def latest(self) -> Path:
        """What a run leaves at its end."""
        return self.root / "runs" / "latest"

    @property
    def is_whole(self) -> bool:
        """Whether a run has left its result."""
        return (self.latest / "summary.json").is_file()

    def screening(self, *, reviewed: bool) -> Path:
        """Where the filter leaves its decisions: the machine's, and those with what people decided."""
        return self.root / ("screening-reviewed" if reviewed else "screening")


def folder_of(settings: ServiceSettings, job_id: str) -> JobFolder:
    """Where this job works."""
    return JobFolder(all_folders(settings) / job_id, logs(settings) / f"{job_id}.log")


def all_folders(settings: ServiceSettings) -> Path:
    """Where all jobs work."""
    return settings.work_folder / "jobs"


def logs(settings: ServiceSettings) -> Path:
    """What the pipelines said, for the operator."""
    return settings.work_folder / "job-logs"
