"""The daily stock panel, its splits, labels and per-day normalisation."""
