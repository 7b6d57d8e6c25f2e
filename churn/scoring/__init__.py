"""Score rows with a model version and choose alerts, in batches and in a stream.

In: stored features, or arriving transactions, and a version. Out: tables of scores and of alerts, files or topics of
alerts. Scores are evaluated elsewhere.
"""
