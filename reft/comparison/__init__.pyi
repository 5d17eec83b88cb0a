from .grid import Grid as Grid
from .grid import cells as cells
from .run import run_comparison as run_comparison
from .settings import ComparisonSettings as ComparisonSettings
from .settings import read_comparison_settings as read_comparison_settings
from .table import summarise as summarise
