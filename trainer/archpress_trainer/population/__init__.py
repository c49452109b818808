"""Populations: sampled architectures with measured labels, built resumably by local workers."""
