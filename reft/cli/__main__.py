"""`python -m reft.cli`, for processes that have no `reft` on their path."""

from reft.cli import main

main()
