"""The features: one file a family. A family declares its features with `windowed`, `followed` and `derived`."""
