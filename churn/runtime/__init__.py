"""How Spark, Java and local servers are started, submitted and ended. Knows neither rows nor models.

`processes` is the one module that handles signals and process groups.
"""
