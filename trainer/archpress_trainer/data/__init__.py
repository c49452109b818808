"""Data sets as arrays: sources by name, splits with a fixed seed, fingerprints."""
