from .extraction import LabelledPrompts as LabelledPrompts
from .extraction import extract_refusal_feature as extract_refusal_feature
from .feature import RefusalFeature as RefusalFeature
from .feature import Separation as Separation
from .features import collect_features as collect_features
from .readouts import difference_of_means as difference_of_means
from .readouts import linear_probe as linear_probe
