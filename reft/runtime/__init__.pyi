from .cost import Cost as Cost
from .cost import measured as measured
from .processes import run_in_processes as run_in_processes
from .progress import RunProgress as RunProgress
from .progress import expect_run as expect_run
from .quiet import quiet_terminal as quiet_terminal
