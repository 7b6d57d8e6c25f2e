"""Fits of one machine's libraries: `python single_machine_fits.py TABLE ...`, prints an AUC for each table.

A table is a folder of Parquet files with `part` (train, calibrate, test or null), `label`, and features. Of a logistic
regression, a forest and gradient boosting, fitted on the train part, the best by AUC on the calibrate part is fitted
again on all rows but the test part. Needs lightgbm, scikit-learn, pandas and pyarrow, and nothing of this library.
"""

from __future__ import annotations

import sys
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

BAGGED = {"subsample": 0.5, "subsample_freq": 1, "n_jobs": 1, "verbose": -1, "random_state": 17}
FOREST = {
    "boosting_type": "rf", "n_estimators": 80, "max_depth": 7, "num_leaves": 128, "colsample_bytree": 0.1,
    "learning_rate": 1.0, "min_child_samples": 20,
}  # fmt: skip
BOOSTING = {"n_estimators": 50, "max_depth": 3, "num_leaves": 8, "learning_rate": 0.08, "min_child_samples": 50}


def numbers(rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    values = rows.select_dtypes("number").to_numpy(np.float64)
    return np.nan_to_num(np.sign(values) * np.log1p(np.abs(values)))


def fitted(name: str, rows: pd.DataFrame, label: pd.Series) -> Any:
    if name == "logistic":
        return make_pipeline(StandardScaler(), LogisticRegression(C=1 / 500)).fit(numbers(rows), label)
    return lightgbm.LGBMClassifier(**BAGGED, **(FOREST if name == "forest" else BOOSTING)).fit(rows, label)


def auc(name: str, model: Any, rows: pd.DataFrame, label: pd.Series) -> float:
    return float(roc_auc_score(label, model.predict_proba(numbers(rows) if name == "logistic" else rows)[:, 1]))


def of_table(folder: str) -> float:
    table = pd.read_parquet(folder)
    parts, label = table.pop("part"), table.pop("label")
    for column in table.select_dtypes("object"):
        table[column] = table[column].astype("category")
    train, calibrate, test = (parts == name for name in ("train", "calibrate", "test"))
    candidates = ("logistic", "forest", "boosting")
    models = {name: fitted(name, table[train], label[train]) for name in candidates}
    best = max(models, key=lambda name: auc(name, models[name], table[calibrate], label[calibrate]))
    return auc(best, fitted(best, table[~test], label[~test]), table[test], label[test])


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(of_table(argument))
