"""Formulas as source of other libraries, and how far their values agree."""
