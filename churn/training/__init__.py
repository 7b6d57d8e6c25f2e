"""Labelled rows come in, a fitted MLlib pipeline leaves: candidates are tried, one is chosen, calibrated and refitted.

In: labelled feature rows and their slices. Out: a PipelineModel and what was found on the way. Nothing that is only
scored passes through here.
"""
