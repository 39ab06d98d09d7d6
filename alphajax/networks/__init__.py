"""Encoders of formulas; policy and value heads."""
