"""What reasons cost: `python -m tests.benchmarks.reasons` scores customers without reasons and with reasons for all.

Prints `ratio_to_scoring=X`, the median of the ratios of pairs that are run one after the other. The model is a blend of
all candidates of `models/churn.py`, fitted on made-up features.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from statistics import median

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn.dataset.split import split_in_time
from churn.labels.closure import Closure
from churn.model_spec import LabelWindow, ModelSpec, ReasonSettings
from churn.runtime.session import session
from churn.scoring.batch import scored
from churn.scoring.reasons import with_reasons
from churn.training.algorithms import Blend, Boosting, Forest, Logistic
from churn.training.fit import fit
from churn.training.model_version import ModelVersion

DATES = [datetime(2026, month, 1) for month in (1, 2, 3, 4)]
FEATURES = 60
TRAINED = 5_000
SPEC = ModelSpec(
    name="churn",
    label=Closure(),
    reasons=ReasonSettings(all_rows=True),
    candidates={
        "blend": Blend(of=("logistic", "forest", "boosting")),
        "logistic": Logistic(),
        "forest": Forest(),
        "boosting": Boosting(),
    },
)


def made_up(rows: DataFrame) -> DataFrame:
    """Features that a label depends on, from hashes of the key."""

    def uniform(seed: str) -> Column:
        return F.pmod(F.xxhash64("customer_id", "as_of", F.lit(seed)), F.lit(1 << 20)) / (1 << 20)

    columns = {f"feature_{number}": F.round(-40 * F.log(1 - uniform(f"x{number}")), 1) for number in range(FEATURES)}
    rows = rows.select("*", *(column.alias(name) for name, column in columns.items()))
    log_odds = (F.col("feature_0") - F.col("feature_1")) / 40 + F.when(F.col("feature_2") > 60, 1).otherwise(-1)
    return rows.withColumn("label", (uniform("label") < 1 / (1 + F.exp(-log_odds))).cast("int"))


def seconds(run: Callable[[], DataFrame]) -> float:
    start = time.perf_counter()
    run().write.format("noop").mode("overwrite").save()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, session("reasons") as spark:
        ids = spark.range(TRAINED).select(F.col("id").cast("string").alias("customer_id"))
        past = made_up(ids.crossJoin(spark.createDataFrame([(one,) for one in DATES[:3]], "as_of timestamp")))
        split = split_in_time(DATES, test=[DATES[3]], window=LabelWindow(lead=0, horizon=28), calibrate=2)
        columns = [f"feature_{number}" for number in range(FEATURES)]
        fitted = fit(SPEC, past.persist(), split, columns, scratch=folder)
        version = ModelVersion(fitted.model, "1", "benchmark", fitted.summary)
        customers = spark.range(arguments.customers).select(F.col("id").cast("string").alias("customer_id"))
        rows = made_up(customers.withColumn("as_of", F.lit(DATES[3]))).drop("label")
        rows.write.parquet(f"{folder}/rows")
        rows = spark.read.parquet(f"{folder}/rows")

        def alone() -> DataFrame:
            return scored(SPEC, version.model, rows, scored_on=DATES[3], version="1")

        def explained() -> DataFrame:
            return with_reasons(
                SPEC, version, scored(SPEC, version.model, rows, scored_on=DATES[3], version="1"), rows, folder
            )

        seconds(alone)  # workers and compiled plans are there from here on
        pairs = [(seconds(alone), seconds(explained)) for _ in range(arguments.repeats)]
        for without, with_all in pairs:
            print(f"scoring alone {without:.1f} s, with reasons {with_all:.1f} s", flush=True)
        print(f"chosen {fitted.chosen} of {', '.join(fitted.slopes)}")
        print(f"ratio_to_scoring={median(with_all / without for without, with_all in pairs):.2f}")


if __name__ == "__main__":
    main()
