"""What a signal is worth on a split: the public names.

They are imported when they are first used.
"""

import importlib

# Name -> the module of this package that defines it.
_PUBLIC = {
  'backtest': 'trading',
  'BacktestResult': 'trading',
  'BacktestSpec': 'rules',
  'confidence_set': 'comparison',
  'decay': 'signals',
  'paired': 'comparison',
  'quantile_returns': 'signals',
  'tear_sheet': 'sheet',
  'turnover': 'signals',
}
__all__ = [*_PUBLIC]


def __getattr__(name: str):
  if name not in _PUBLIC:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  module = importlib.import_module(f'{__name__}.{_PUBLIC[name]}')
  return getattr(module, name)


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
