"""A pipeline that reads its profile as the command line does: refused in the same words, before ZenML reads it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from zenml.client import Client
from zenml.pipelines.pipeline_definition import Pipeline

from reft.audit.benign import benign_jobs
from reft.config import Settings, read_profile
from reft.tracking.names import refused_names
from reft.validation.faults import require_none
from reft.validation.profile import missing, wrong_options


class ProfiledPipeline(Pipeline):
    """A pipeline whose run configurations are profiles."""

    def with_options(self, *options: Any, config_path: str | None = None, **named: Any) -> Pipeline:
        """As ZenML's own.

        Raises:
            ConfigurationError: naming the profile, and the line where it can.
        """
        if config_path is not None:
            read_profile(Path(config_path))
        return super().with_options(*options, config_path=config_path, **named)


def profiled(name: str, **options: Any) -> Callable[[Callable[..., Any]], ProfiledPipeline]:
    """ZenML's decorator `pipeline`, for such a pipeline."""
    return lambda function: ProfiledPipeline(name=name, entrypoint=function, **options)


def require_runnable(settings: Settings) -> None:
    """Refuse, before any step runs, what the registry or a part would refuse, and files and models that are not there.

    Raises:
        ConfigurationError: naming every such setting.
        StorageError: the audit's calibration is damaged.
        DataFormatError: it is of another format.
    """
    # On a cluster the files lie where the steps run.
    here = Client().active_stack.orchestrator.config.is_local
    found = [*refused_names(settings.tracking), *wrong_options(settings)]
    require_none([*found, *(missing(settings) if here else ())])
    if here and settings.audit.enabled:
        benign_jobs(settings.data)  # a damaged calibration would be found after the training
