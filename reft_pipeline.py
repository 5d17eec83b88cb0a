"""Lets `zenml pipeline run reft_pipeline` find the pipeline, with `zenml.yaml` as its configuration."""

import sys
from pathlib import Path

from pipelines.terminal import quiet
from reft.runtime.garbage import look_rarely

look_rarely()
quiet()
from pipelines.reft import reft  # noqa: E402 (libraries warn, too, while they are imported)

sys.modules[__name__] = reft.with_options(config_path=str(Path(__file__).with_name("zenml.yaml")))  # type: ignore[assignment]
