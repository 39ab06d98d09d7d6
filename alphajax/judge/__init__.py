"""What a signal is worth on a split: the public names.

They are imported when they are first used.
"""

import importlib

_PUBLIC = {  # Name -> where it is defined.
  'confidence_set': 'alphajax.judge.comparison:confidence_set',
  'decay': 'alphajax.judge.signals:decay',
  'paired': 'alphajax.judge.comparison:paired',
  'quantile_returns': 'alphajax.judge.signals:quantile_returns',
  'turnover': 'alphajax.judge.signals:turnover',
}
__all__ = [*_PUBLIC]


def __getattr__(name: str):
  if name not in _PUBLIC:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  path, _, attribute = _PUBLIC[name].partition(':')
  value = getattr(importlib.import_module(path), attribute)
  globals()[name] = value
  return value


def __dir__():
  return sorted({*globals(), *__all__})
