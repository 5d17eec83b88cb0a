from .labels import SoftLabels as SoftLabels
from .labels import compute_soft_labels as compute_soft_labels
from .making import make_soft_labels as make_soft_labels
