from .artifact import Teacher as Teacher
from .loss import cosine_regulariser as cosine_regulariser
from .preparation import (
    load_teacher as load_teacher,
)
from .preparation import (
    make_teacher as make_teacher,
)
from .preparation import (
    untrained_feature as untrained_feature,
)
from .training import train_teacher as train_teacher
