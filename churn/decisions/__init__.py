"""From scores to money: what a customer is worth, whom to contact with which offer, and what a contact changed."""
