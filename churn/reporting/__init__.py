"""The reports, HTML pages that need no network, and their plots.

In: results of an evaluation, a monitoring run or a plan. Out: one page each. Nothing is measured or decided here.
"""
