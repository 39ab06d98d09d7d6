"""Evaluation of formulas on a panel: `compile` one, or thousands by `Store`."""

from alphajax.factor.compile import compile
from alphajax.factor.store import Store, make_store, values

__all__ = ['Store', 'compile', 'make_store', 'values']
