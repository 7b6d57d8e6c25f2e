"""A fitted model and rows of later dates come in, figures and verdicts leave.

In: scored, labelled rows. Out: metrics with intervals, evidence of leaks, verdicts of gates. Figures are not drawn here,
and nothing is decided.
"""
