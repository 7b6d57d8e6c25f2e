"""A company with ground truth, of any size, from a seed: the sample data and the load tests."""

from churn.simulation.noise import CLEAN, Dirt
from churn.simulation.run import company, simulate

__all__ = ["CLEAN", "Dirt", "company", "simulate"]
