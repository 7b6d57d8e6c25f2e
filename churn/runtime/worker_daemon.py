"""The daemon that forks Spark's Python workers on a local master, after the imports that their tasks need.

Spark's own (`pyspark.daemon`) leaves the imports to each worker: three CPU seconds for scikit-learn alone.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # Spark puts its archive first, whose modules every process would compile anew; an installed pyspark is compiled.
    sys.path.sort(key=lambda place: place.endswith("pyspark.zip"))

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
