"""The settings of what runs as jobs on Kubernetes: trainings and scans as TrainJobs, validations as Indexed Jobs."""

from typing import Literal

from pydantic import Field, field_validator

from reft.config.sections import Count, Section


class Toleration(Section):
    """A taint that the pods may be scheduled onto, with Kubernetes' own fields."""

    key: str | None = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class ClusterSettings(Section):
    """The TrainJob, where finetuning.launcher is trainjob, and the jobs of `--cluster`."""

    namespace: str = Field("reft", description="namespace of the TrainJob")
    runtime: str = Field("reft-deepspeed", description="training runtime with the torch policy, made beforehand")
    runtime_kind: Literal["TrainingRuntime", "ClusterTrainingRuntime"] = Field(
        "TrainingRuntime", description="whether that runtime is the namespace's or the cluster's"
    )
    image: str | None = Field(None, description="image of the ranks; none: the runtime's (work on a store needs it)")
    nodes: Count = Field(1, description="nodes (pods)")
    gpus_per_node: int = Field(1, ge=0, description="GPUs and processes of each node; 0: one process on the CPU")
    gpu_resource: str = Field("nvidia.com/gpu", description="what the cluster calls a GPU")
    cpus: float = Field(4, gt=0, description="CPUs of each node, requested and limit")
    memory: str = Field(
        "32Gi", pattern=r"^\d+(\.\d+)?([KMGT]i?)?$", description="memory of each node, requested and limit"
    )
    work_claim: str = Field("reft-work", description="volume claim that step and nodes share (ReadWriteMany)")
    work_mount: str = Field(
        "/var/reft", pattern="^/.", description="where all mount it; finetuning.work_folder lies under it"
    )
    service_account: str | None = Field(None, description="service account of the nodes; none: the runtime's")
    queue: str | None = Field(None, description="Kueue's LocalQueue; none: not queued")
    node_selector: dict[str, str] = Field({}, description="labels of the machines that may be used")
    tolerations: list[Toleration] = Field([], description="taints of machines that may be used all the same")
    env: dict[str, str] = Field({}, description="environment variables of the ranks, such as HF_HOME")
    store_secret: str | None = Field(
        None, description="Secret whose keys are variables of pods on a store, such as AWS_ACCESS_KEY_ID; none: none"
    )
    shard_mb: Count = Field(256, description="megabytes of the input that a pod of a validation takes")
    scan_rows: Count = Field(65_536, description="rows of the input that a pod of a scan takes, in whole thousands")
    pending_minutes: float = Field(30, gt=0, description="nodes that do not all run after so long are given up")
    restarts: int = Field(3, ge=0, description="new starts, each from the last checkpoint, after a preempted node")

    @field_validator("env")
    @classmethod
    def _not_torchruns(cls, env: dict[str, str]) -> dict[str, str]:
        if reserved := sorted(name for name in env if name.startswith("PET_")):
            raise ValueError(f"{', '.join(reserved)}: the Trainer sets the PET_ variables itself")
        return env

    @property
    def processes_per_node(self) -> int:
        """Ranks of each node."""
        return max(1, self.gpus_per_node)

    @property
    def processes(self) -> int:
        """Ranks over all nodes."""
        return self.nodes * self.processes_per_node
