"""A registered model outside of this library: MLflow's `pyfunc` and `spark_udf` give the probability of a 1."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.dataset.split import split_in_time
from churn.labels.closure import Closure
from churn.model_output import probability
from churn.model_spec import LabelWindow, ModelSpec
from churn.registry import tracking
from churn.training.algorithms import Logistic
from churn.training.fit import fit

FIRST, SECOND = datetime(2026, 1, 1), datetime(2026, 2, 1)
SPEC = ModelSpec(name="served", label=Closure(), candidates={"logistic": Logistic(reg_param_total=1.0)})
SPLIT = split_in_time([FIRST, SECOND], test=[datetime(2026, 4, 1)], window=LabelWindow(lead=0, horizon=30), calibrate=1)


@pytest.fixture(scope="module")
def scored(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Rows with the scores that the fitted pipeline gives; the model is registered as `served`."""
    values = [
        (f"c{number}", as_of, int(number % 3 == 0), float(number % 7), "gold" if number % 2 else None)
        for as_of in (FIRST, SECOND)
        for number in range(60)
    ]
    rows = spark.createDataFrame(values, "customer_id string, as_of timestamp, label int, spend double, plan string")
    fitted = fit(SPEC, rows, SPLIT, ["spend", "plan"])
    inputs = rows.select("spend", "plan")
    store = f"sqlite:///{tmp_path_factory.mktemp('served') / 'mlflow.db'}"
    with tracking.run(store, "served", "train", key="train served") as run:
        run.model(fitted.model, inputs=inputs, outputs=fitted.model.transform(inputs).select("prediction"))
        run.register(SPEC.name)
    return fitted.model.transform(inputs).select("spend", "plan", probability().alias("score")).toPandas()


def test_pyfunc_predicts_the_probability_of_a_pandas_frame(scored: pd.DataFrame) -> None:
    """A registered model predicts the score as a double, which its signature says."""
    model = mlflow.pyfunc.load_model("models:/served@challenger")

    assert np.asarray(model.predict(scored[["spend", "plan"]])).tolist() == scored["score"].tolist()
    assert [(column.name, str(column.type)) for column in model.metadata.signature.outputs] == [
        ("prediction", "DataType.double")
    ]


def test_spark_udf_predicts_the_probability(scored: pd.DataFrame, spark: SparkSession, tmp_path: Path) -> None:
    """The same in a column of Spark."""
    predict = mlflow.pyfunc.spark_udf(spark, "models:/served@challenger", result_type="double", env_manager="local")
    rows = spark.createDataFrame(scored.head(5)).coalesce(1)

    found = rows.select("score", predict(F.struct("spend", "plan")).alias("predicted")).toPandas()

    assert found["predicted"].tolist() == found["score"].tolist()
