"""How Spark, Java and local servers are started, submitted and ended; the one place that handles signals and process
groups. It knows neither rows nor models.
"""
