"""Results come in, pages and plots leave: HTML that needs no network. Reads results, decides nothing."""
