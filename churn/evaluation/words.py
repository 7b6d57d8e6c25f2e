"""The words of `churn.training.words`, for whoever judges."""

from churn.training.words import CHURN, FRAUD, Words, words_of

__all__ = ["CHURN", "FRAUD", "Words", "words_of"]
