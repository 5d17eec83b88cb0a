from .result import EXAMPLES as EXAMPLES
from .result import OUTPUTS as OUTPUTS
from .result import UNLIKE as UNLIKE
from .result import ScanResult as ScanResult
from .scan import ROWS_PER_SHARD as ROWS_PER_SHARD
from .scan import scan_file as scan_file
