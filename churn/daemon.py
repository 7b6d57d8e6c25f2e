"""What Python workers are forked from on a local master: a process that has imported what their tasks need.

Spark's own daemon (`pyspark.daemon`) leaves the imports to each worker: three CPU seconds for scikit-learn alone.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # Spark puts its archive first, whose modules every process would compile anew; the installed ones are compiled.
    sys.path[:] = [place for place in sys.path if not place.endswith("pyspark.zip")]

    from importlib import import_module

    from pyspark.daemon import manager

    for module in ("churn.features.kernel", "churn.training.task", "sklearn.ensemble", "sklearn.linear_model"):
        import_module(module)
    manager()
