"""The contracts: one file a source. `calls.py` holds `CALLS = Contract(...)`."""
