"""Which transactions the customer did not make. Each is described as of the moment just before it.

Two months of days are learnt from, as long as their reports have come; the last ripe week tells the candidates apart.
"""

from churn import Boosting, Logistic, ModelSpec

SPEC = ModelSpec(
    name="fraud",
    label="fraud",
    lead=0,
    horizon=1,
    maturity=7,
    features=("velocity",),
    windows=(),
    rule_of_thumb="transaction_amount",
    every=1,
    history=30,
    dates=63,
    calibrate_dates=7,
    test_dates=21,
    test_every=1,
    judged_days=7,
    blocked_days=14,
    negatives_per_positive=20,
    budget=100,
    candidates={
        "logistic": Logistic(reg_param_total=20.0),
        "boosting": Boosting(max_depth=4, learning_rate=0.04, max_trees=400, min_rows_per_leaf=20, patience=20),
    },
)
