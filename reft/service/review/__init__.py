"""People decide on the rows that the filter set aside: what waits, who decided what and why, and what follows from it.

The job's runner meets three functions: `hold` makes the rows of a job wait, `release` lets the job go on, and
`overrides_of` gives what was decided, as `reft.filtering.overrides` reads it.
"""

from reft.service.review.export import overrides_of
from reft.service.review.holding import Quarantined, hold, release

__all__ = ["Quarantined", "hold", "overrides_of", "release"]
