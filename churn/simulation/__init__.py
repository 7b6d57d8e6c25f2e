"""A simulated company with ground truth, of any size, from a seed: for sample data and load tests.

In: a number of customers, a period, a seed. Out: raw files as a company would deliver them, and the truth behind them.
No other room reads the truth.
"""

from churn.simulation.noise import CLEAN, Dirt
from churn.simulation.run import company, simulate

__all__ = ["CLEAN", "Dirt", "company", "simulate"]
