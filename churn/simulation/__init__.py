"""A simulated company with ground truth, of any size, from a seed: for sample data and load tests."""

from churn.simulation.noise import CLEAN, Dirt
from churn.simulation.run import company, simulate

__all__ = ["CLEAN", "Dirt", "company", "simulate"]
