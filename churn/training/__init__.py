"""Labelled rows come in, a fitted MLlib pipeline leaves: candidates are tried, one is chosen, calibrated and refitted.

In: labelled feature rows and their slices. Out: a PipelineModel and the trials of its candidates. Rows that are only
scored do not come here.
"""
