"""Operators, batched evaluation, metrics and the factor pool."""
