"""A scan shared by the ranks of a TrainJob, one a GPU: the filter on files that one machine is too slow for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reft.cluster.client import ClusterClient
from reft.cluster.run import ClusterRun, Work
from reft.cluster.trainjob import trainjob
from reft.config import ClusterSettings
from reft.conversations.folders import require_apart
from reft.errors import ConfigurationError, explain
from reft.scan.shards import RESULTS
from reft.storage.artifacts import read_json
from reft.storage.fingerprint import of_text


def scan_on_cluster(
    data: str, out: Path, options: Sequence[str], *, settings: ClusterSettings, client: ClusterClient | None = None
) -> dict[str, Any]:
    """Run `reft scan DATA --out OUT OPTIONS` on the cluster's nodes; returns what it left in `scan.json`.

    A scan that was cut off resumes, in whatever number of ranks.

    Raises:
        ConfigurationError: the nodes would not find the rows or the folder, or the results would lie among the rows.
        TrainingError, ClusterError: as for a finetune.
    """
    mount = Path(settings.work_mount).resolve()
    for what, path in (("the rows", data), ("--out", str(out))):
        if "://" not in path and not Path(path).resolve().is_relative_to(mount):
            problem = f"the nodes would not find {what}: not on the volume at {mount}"
            raise ConfigurationError(explain(problem, path, "copy it there, or name a folder there"))
    require_apart(data, out, RESULTS)
    out.mkdir(parents=True, exist_ok=True)
    arguments = [data, "--out", str(out), *options]
    name = f"reft-scan-{of_text(*arguments)[:12]}"
    manifest = trainjob(name, ["reft.cli", "scan", *arguments], out, settings=settings)
    client = client or ClusterClient(settings.namespace)
    ClusterRun(client, manifest, settings, work=_Scanning(out), log=out.with_name(f"{out.name}.log")).run()
    return read_json(out / "scan.json")


class _Scanning(Work):
    """The scan as it shows in its folder: there is nothing to report before its end."""

    def __init__(self, out: Path) -> None:
        self._result = out / "scan.json"

    def prepare(self) -> None:
        """An earlier scan's result is not this one's."""
        self._result.unlink(missing_ok=True)

    def look(self, running: bool) -> None:
        """Its ranks share the rows as they go: none can hang waiting for another."""

    def is_done(self) -> bool:
        """Whether all rows are sorted."""
        return self._result.is_file()

    @property
    def smaller(self) -> str:
        """A scan's memory is its model's."""
        return "raise cluster.memory"
