"""The rows of a model: who is scored, at which as-of, with which features, and with which label.

In: accepted sources, a model's declaration. Out: spines, the calendar and the slices of a run, stored features,
labelled rows. Fitting and scoring are other rooms'.
"""
