"""The features: one file a family. A family declares with `windowed`, `followed` and `derived`."""
