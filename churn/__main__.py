"""`python -m churn` is the `churn` command."""

from churn.cli import main

main()
