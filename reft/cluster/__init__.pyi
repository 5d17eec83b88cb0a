from .client import ClusterClient as ClusterClient
from .finetuning import run_on_cluster as run_on_cluster
from .run import ClusterRun as ClusterRun
from .run import Work as Work
from .scan import scan_on_cluster as scan_on_cluster
