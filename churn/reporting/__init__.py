"""The reports, HTML pages that need no network, and their plots. Reads results, decides nothing."""
