"""Step refusal_feature: the direction of the start model, before anything is trained."""

from typing import Annotated, Any

from zenml import step

from reft.config import DataSettings, ModelSettings, RefusalFeatureSettings
from reft.models.hardware import choose_hardware
from reft.refusal_feature.feature import RefusalFeature
from reft.storage.fingerprint import of_path
from reft.teacher.preparation import untrained_feature
from reft.tracking.logging import log_dataset, log_metrics, log_settings
from steps.materializer import FolderMaterializer
from steps.metadata import measured_step

LOGGED = ("alignment_harmful", "alignment_harmless", "calibration_harmful", "calibration_harmless")


@step(experiment_tracker=True, output_materializers={"refusal_feature": FolderMaterializer})
def refusal_feature(
    model: ModelSettings, data: DataSettings, settings: RefusalFeatureSettings, *, key: dict[str, Any]
) -> Annotated[RefusalFeature, "refusal_feature"]:
    """Difference of means at every layer and both positions, chosen on held-out prompts."""
    with measured_step("refusal_feature") as cost:
        feature, tokenizer, fitting, held_out = untrained_feature(model, data, settings)
        cost.tokens = sum(len(e) for part in (fitting, held_out) for group in part.encoded(tokenizer) for e in group)
    log_settings("model", {**model.model_dump(), "hardware": choose_hardware(model.dtype).reason})
    for context in LOGGED:
        path = getattr(data, context)
        log_dataset(path, context, of_path(path))
    log_metrics("refusal_feature", {"auroc": feature.auroc(), "layer": feature.layer, "seconds": cost.seconds})
    return feature
