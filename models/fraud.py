"""Which transactions the customer did not make. Each is described as of the moment just before it.

Two months of days are learnt from, as long as their reports have come; the last ripe week tells the candidates apart.
"""

from churn.training.spec import Candidate, ModelSpec

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
    majority=20,
    budget=100,
    candidates={
        "logistic": Candidate("LogisticRegression", penalty=20.0, maxIter=100),
        "forest": Candidate(
            "RandomForestClassifier", numTrees=100, maxDepth=9, minInstancesPerNode=5, subsamplingRate=0.7
        ),
        "boosting": Candidate(
            "GBTClassifier", maxIter=80, maxDepth=4, stepSize=0.08, subsamplingRate=0.5, minInstancesPerNode=20
        ),
    },
)
