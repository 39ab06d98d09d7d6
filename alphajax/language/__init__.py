"""The formula language: symbols, formulas, grammars, trees."""
