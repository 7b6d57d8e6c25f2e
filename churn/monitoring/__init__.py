"""What a model in use receives and how its scores turned out, against what it learnt from.

In: stored features, scores, matured labels. Out: tables of drift and outcomes, verdicts of limits. Pages are not made
here.
"""
