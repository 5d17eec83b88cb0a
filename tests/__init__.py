import reft  # noqa: F401 (before anything loads torch: how long its threads wait for one another)
