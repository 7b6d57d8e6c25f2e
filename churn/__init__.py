"""Churn, fraud and sales models from call logs and transactions, on Spark."""
