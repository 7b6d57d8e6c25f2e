"""The daemon that forks Spark's Python workers on a local master, after it has imported what their tasks need.

With Spark's own, `pyspark.daemon`, every worker imports again: three CPU seconds for scikit-learn alone.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # Spark puts its zip file first, whose modules every process compiles again; an installed pyspark is compiled.
    sys.path.sort(key=lambda entry: entry.endswith("pyspark.zip"))

    from importlib import import_module

    from pyspark.daemon import manager

    for module in (
        "churn.features.engine.customer_kernel",
        "churn.training.fit_task",
        "sklearn.ensemble",
        "sklearn.linear_model",
    ):
        import_module(module)
    manager()
