"""Formulas as source text of other libraries, and how far their values agree."""
