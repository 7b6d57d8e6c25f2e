"""Who is about to leave. The default is meant for data nobody has seen: it leans on what holds in most companies.

Candidates stand from the simplest to the least simple. A later one is taken only if it does better than the earlier
ones on later as-ofs by more than the noise; on recency, frequency and value a well penalised logistic regression is
hard to beat.
"""

from churn.training.spec import Candidate, ModelSpec

SPEC = ModelSpec(
    name="churn",
    label="closure",
    cohort="open",
    lead=7,
    horizon=30,
    features=("calls", "spending", "account", "crossover"),
    windows=(30, 60, 90, 180, 365),
    rule_of_thumb="days_since_purchase",
    candidates={
        "logistic": Candidate("LogisticRegression", penalty=500.0, maxIter=100),
        "forest": Candidate(
            "RandomForestClassifier", numTrees=80, maxDepth=7, minInstancesPerNode=20, subsamplingRate=0.5
        ),
        "boosting": Candidate(
            "GBTClassifier", maxIter=50, maxDepth=3, stepSize=0.08, subsamplingRate=0.5, minInstancesPerNode=50
        ),
    },
)
