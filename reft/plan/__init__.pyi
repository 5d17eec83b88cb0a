from .memory import Need as Need
from .memory import plan_memory as plan_memory
from .memory import zero_stages_that_fit as zero_stages_that_fit
