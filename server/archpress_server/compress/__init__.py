"""The four steps of compression as plain functions: descend, decode, retrain, export."""
