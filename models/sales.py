"""Who is about to buy more: change to a larger plan. The settings are for data nobody has seen.

The label is configuration: `[model.sales.label] name` may be "upgrade", "add_on" (a purchase of a kind or at a
merchant) or "more_spend" (above the customer's own trend).
"""

from churn import Blend, Boosting, FeatureSet, Forest, LabelWindow, Logistic, ModelSpec, Upgrade

SPEC = ModelSpec(
    name="sales",
    label=Upgrade(),
    window=LabelWindow(lead=7, horizon=60),
    features=FeatureSet(
        include=("calls", "spending", "account", "crossover", "sales"),
        windows=(30, 60, 90, 180, 365),
    ),
    baseline="purchases_90d",
    candidates={
        "logistic": Logistic(reg_param_total=500.0),
        "forest": Forest(trees=50, max_depth=7, min_rows_per_leaf=20),
        "boosting": Boosting(max_depth=3, learning_rate=0.08, min_rows_per_leaf=50),
        "blend": Blend(of=("logistic", "forest", "boosting")),
    },
)
