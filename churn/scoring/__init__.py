"""Feature rows and a model version come in, scores and alerts leave, by batch and by stream.

In: stored features, or arriving transactions, and a version. Out: tables of scores and of alerts, files or topics of
alerts. How good a score is, is not for here.
"""
