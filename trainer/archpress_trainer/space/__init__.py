"""Architectures without weights: vocabulary, graph, costs, samplers, sequences, builder."""
