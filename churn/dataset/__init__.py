"""Who, when, what was known of them, and what became of them: the rows of a model.

In: accepted sources, a model's declaration. Out: spines, the calendar and the slices of a run, stored features, labelled
rows. How they are fitted or scored is not for here.
"""
