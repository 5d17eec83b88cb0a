"""How long validating and scanning so many rows takes, on how many pods, in what memory, at what cost.

Arithmetic on rates that were measured (`reft.scan.rates`): nothing here is a promise of a machine that nobody tried.
"""

import math
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from reft.config import ClusterSettings
from reft.errors import ConfigurationError, explain
from reft.storage.artifacts import as_written, read_json, write_json

RATES = Path(".reft/rates.json")
COUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgb]?)", re.IGNORECASE)
TIMES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}
# Bytes for each row where all rows come together: what is noted of a row (`reft.validation.rows.Columns` and its
# group), and what finding repeats takes beside at its peak. A test holds both against what is really taken.
NOTED, FINDING = 66, 140
# Bytes of a process that validates before it holds rows, and seconds until a pod works: assumptions, like the driver's
# in `reft.plan.memory`.
PROCESS, STARTING = 450 << 20, 20.0
# Of its part a pod holds on its disk the piece, the lines and what they were sorted into.
ON_DISK = 4


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What one process of a machine does.

    Attributes:
        validated, scanned: rows a second; scanned None: not measured.
        row_bytes: of a row in the file, on average.
        measured_on: the machine, in words.
    """

    validated: float
    scanned: float | None = None
    row_bytes: float = 700.0
    measured_on: str = "as given"

    def save(self, file: Path = RATES) -> None:
        """Keep them for the plans to come.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        write_json(file, asdict(self))

    @classmethod
    def load(cls, file: Path = RATES) -> "Rates":
        """Those that `reft plan --measure` kept.

        Raises:
            ConfigurationError: there are none.
            StorageError: the file holds something else.
        """
        if not file.is_file():
            remedy = "measure them: reft plan --measure, or give --rows-per-second"
            raise ConfigurationError(explain("no rates are known on this machine", str(file), remedy))
        with as_written(file):
            found = read_json(file)
            return cls(**{field.name: found[field.name] for field in fields(cls)})


@dataclass(frozen=True, kw_only=True)
class RowsNeed:
    """What one command takes of so many rows.

    Attributes:
        seconds_here: on one machine, with all its processes.
        parts: shards that are done, and lost, each by itself.
        pods: at a time.
        seconds: on the cluster.
        pod_bytes: memory that a pod takes.
        merging_bytes: memory of the index of repeats, and all that is noted of rows, where the parts come together.
        disk_bytes: that a pod's part takes of its disk.
        cost: of the pods, where a price is given.
    """

    command: str
    seconds_here: float
    parts: int
    pods: int
    seconds: float
    pod_bytes: int
    merging_bytes: int
    disk_bytes: int
    cost: float | None


def count_of(text: str) -> int:
    """The number that "100M", "2.5k" or "1000000" stands for.

    Raises:
        ConfigurationError: it stands for none, or for none above 0.
    """
    found = COUNT.fullmatch(text.strip().replace("_", "").replace(",", ""))
    rows = round(float(found[1]) * TIMES[found[2].lower()]) if found else 0
    if rows < 1:
        what = f"no number of rows: {text[:40]!r}"
        raise ConfigurationError(explain(what, "--rows", "write it as 2000000, 500k or 100M"))
    return rows


def plan_rows(
    rows: int, rates: Rates, cluster: ClusterSettings, *, processes: int, price: float | None = None
) -> list[RowsNeed]:
    """A validation, and a scan where its rate is known.

    Args:
        processes: of this machine, for the time without a cluster.
        price: of a pod for an hour, in whatever money.
    """
    size = rows * rates.row_bytes
    parts = max(1, math.ceil(size / (cluster.shard_mb << 20)))
    each = max(1, int(cluster.cpus))
    pods, seconds = _in_turns(rows, parts, cluster, rate=rates.validated * each)
    needs = [
        RowsNeed(
            command="validate",
            seconds_here=STARTING + rows / (rates.validated * processes),
            parts=parts,
            pods=pods,
            seconds=seconds,
            pod_bytes=PROCESS * each + NOTED * math.ceil(rows / parts),
            merging_bytes=PROCESS + (NOTED + FINDING) * rows,
            disk_bytes=math.ceil(ON_DISK * min(size, cluster.shard_mb << 20)),
            cost=_cost(pods * seconds, price),
        )
    ]
    if rates.scanned:
        # From and to a store (`reft.cluster.scan_in_parts`): one process a pod, on a GPU where the nodes have any.
        parts = math.ceil(rows / cluster.scan_rows)
        pods, seconds = _in_turns(rows, parts, cluster, rate=rates.scanned)
        needs.append(
            RowsNeed(
                command="scan", seconds_here=STARTING + rows / rates.scanned, parts=parts, pods=pods, seconds=seconds,
                pod_bytes=0, merging_bytes=4 * rows, disk_bytes=math.ceil(2 * size / parts),
                cost=_cost(pods * seconds, price),
            )
        )  # fmt: skip
    return needs


def _in_turns(rows: int, parts: int, cluster: ClusterSettings, *, rate: float) -> tuple[int, float]:
    """(Pods at a time, seconds): every pod takes one part after another, and starts anew for each."""
    pods = min(cluster.nodes, parts)
    return pods, math.ceil(parts / pods) * (STARTING + rows / parts / rate)


def _cost(pod_seconds: float, price: float | None) -> float | None:
    return None if price is None else pod_seconds / 3600 * price


def required(cluster: ClusterSettings, needs: list[RowsNeed]) -> list[str]:
    """What of the cluster's settings does not suffice, each with its remedy."""
    unit = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    found: Any = re.fullmatch(r"([\d.]+)(\w*)", cluster.memory)
    memory = float(found[1]) * unit[found[2]]
    return [
        f"{need.command}: a pod takes {need.pod_bytes / 2**30:.1f} GiB of {cluster.memory}: raise cluster.memory, or "
        "lower cluster.cpus"
        for need in needs
        if need.pod_bytes > memory
    ]
