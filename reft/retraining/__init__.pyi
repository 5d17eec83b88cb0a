from .decision import (
    DRIFTED as DRIFTED,
)
from .decision import (
    SAMPLE as SAMPLE,
)
from .decision import (
    Decision as Decision,
)
from .decision import (
    canary_accuracy as canary_accuracy,
)
from .decision import (
    canary_drift as canary_drift,
)
from .decision import (
    decide_retraining as decide_retraining,
)
from .decision import (
    drift_between as drift_between,
)
