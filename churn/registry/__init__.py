"""Runs, model versions and their aliases in MLflow, and who becomes champion. The only room that imports MLflow.

In: models, metrics, verdicts. Out: versions by alias, and what was recorded of them. Rows do not come here.
"""
