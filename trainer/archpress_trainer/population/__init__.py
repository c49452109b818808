"""Populations: sampled architectures with measured labels, built resumably, here or on Ray."""
