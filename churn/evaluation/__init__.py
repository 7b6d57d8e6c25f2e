"""A fitted model and rows of later dates come in, metrics and verdicts leave.

In: scored, labelled rows. Out: metrics with intervals, evidence of leaks, verdicts of gates. Plots are reporting's, and
promotion is the registry's.
"""
