"""From scores to money: what a customer is worth, whom to contact with which offer, and what a contact changed.

In: scores, accepted tables, offers, a log of contacts. Out: values, effects of contacts, campaign plans and what came
of them. Scores are made elsewhere, and pages are reporting's.
"""
