from .evaluations import newest_evaluation as newest_evaluation
from .evaluations import record_evaluation as record_evaluation
from .promotion import promote as promote
from .promotion import rollback as rollback
from .registry import (
    RegisteredModel as RegisteredModel,
)
from .registry import (
    champion_version as champion_version,
)
from .registry import (
    register_candidate as register_candidate,
)
