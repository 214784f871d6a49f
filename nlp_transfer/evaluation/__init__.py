"""Evaluation: a split's outputs, its answers, and how sure their scores are."""
