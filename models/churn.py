"""Who is about to leave. The settings are for data nobody has seen: they rest on what holds in most companies.

Candidates are in order from the simplest to the least simple. A later one is chosen only if it does better than the
earlier ones on later as-ofs by more than the noise; on recency, frequency and value a well regularised logistic
regression is hard to beat.
"""

from churn import Blend, Boosting, Campaign, Closure, FeatureSet, Forest, LabelWindow, Logistic, ModelSpec

SPEC = ModelSpec(
    name="churn",
    label=Closure(),
    window=LabelWindow(lead=7, horizon=30),
    features=FeatureSet(
        include=("calls", "spending", "account", "crossover"),
        windows=(30, 60, 90, 180, 365),
    ),
    baseline="days_since_purchase",
    campaign=Campaign(),
    candidates={
        "logistic": Logistic(reg_param_total=500.0),
        "forest": Forest(trees=50, max_depth=7, min_rows_per_leaf=20),
        "boosting": Boosting(max_depth=3, learning_rate=0.08, min_rows_per_leaf=50),
        "blend": Blend(of=("logistic", "forest", "boosting")),
    },
)
