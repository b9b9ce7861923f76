"""`python -m songbloom_cli`: the same as `songbloom`."""

from songbloom_cli.main import main

main()
