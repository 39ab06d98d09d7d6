"""What a signal is worth on a split."""

import importlib

# Name -> the module of this package that defines it. Imported when first used.
_PUBLIC = {
  'backtest': 'trading',
  'BacktestResult': 'trading',
  'BacktestSpec': 'rules',
}
__all__ = [*_PUBLIC]


def __getattr__(name: str):
  """Imports a public name (PEP 562)."""
  if name not in _PUBLIC:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  return getattr(importlib.import_module(f'{__name__}.{_PUBLIC[name]}'), name)


def __dir__() -> list[str]:
  return [*globals(), *_PUBLIC]
