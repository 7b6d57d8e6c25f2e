"""The inputs and scores of a model in use, compared with its training, and the outcomes of its earlier scores.

In: stored features, scores, matured labels. Out: tables of drift and outcomes, verdicts of limits. Pages are
reporting's.
"""
