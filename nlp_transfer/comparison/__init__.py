"""Comparison: which way of adapting a model is best for these rows, by one protocol that is the same for all."""
