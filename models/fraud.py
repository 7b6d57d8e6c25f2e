"""Which transactions the customer did not make. Each is scored by what was known just before it was made.

Two months of days are learnt from, as long as their reports are complete; the last matured week decides between the
candidates.
"""

from churn import (
    Alerts,
    Boosting,
    EvaluationSettings,
    FeatureSet,
    Fraud,
    LabelWindow,
    Logistic,
    ModelSpec,
    Schedule,
    Training,
)

SPEC = ModelSpec(
    name="fraud",
    label=Fraud(),
    window=LabelWindow(lead=0, horizon=1, maturity=7),
    features=FeatureSet(include=("velocity",), windows=()),
    baseline="transaction_amount",
    schedule=Schedule(every=1, history=30, max_as_ofs=63, calibrate_as_ofs=7, test_as_ofs=21, test_every=1),
    training=Training(negatives_per_positive=20),
    evaluation=EvaluationSettings(period_days=7, blocked_card_days=14),
    alerts=Alerts(alert_budget=100),
    candidates={
        "logistic": Logistic(reg_param_total=20.0),
        "boosting": Boosting(max_depth=4, learning_rate=0.04, max_trees=400, min_rows_per_leaf=20, patience=20),
    },
)
