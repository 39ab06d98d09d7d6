"""Discovery of formulaic alpha factors in JAX: the public names.

They are imported when they are first used, so that `import alphajax` is quick.
"""

import importlib

__version__ = '0.2.0'

# Name -> where it is defined; a module where nothing follows the colon.
_PUBLIC = {
  # Data.
  'load': 'alphajax.data.market:load',
  'Panel': 'alphajax.data.panel:Panel',
  'LabelSpec': 'alphajax.data.panel:LabelSpec',
  'split': 'alphajax.data.panel:split',
  'simulate': 'alphajax.data.simulate:simulate',
  # Formulas.
  'Formula': 'alphajax.language.formula:Formula',
  'parse': 'alphajax.language.formula:parse',
  'to_text': 'alphajax.language.formula:to_text',
  'library': 'alphajax.language.library:',
  # Their values and what they are worth.
  'values': 'alphajax.factor.evaluate:values',
  'compile': 'alphajax.factor.evaluate:compile',
  'Store': 'alphajax.factor.evaluate:Store',
  'Stream': 'alphajax.factor.stream:Stream',
  'daily_ic': 'alphajax.factor.metrics:daily_ic',
  'daily_rank_ic': 'alphajax.factor.metrics:daily_rank_ic',
  'mean_interval': 'alphajax.factor.metrics:mean_interval',
  # Pools and runs.
  'Pool': 'alphajax.factor.pool:Pool',
  'insert': 'alphajax.factor.pool:insert',
  'signal': 'alphajax.factor.pool_signal:signal',
  'Method': 'alphajax.methods.base:Method',
  'load_run': 'alphajax.run.folder:load_run',
}
__all__ = [*_PUBLIC, '__version__']


def __getattr__(name: str):
  if name not in _PUBLIC:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  path, _, attribute = _PUBLIC[name].partition(':')
  module = importlib.import_module(path)
  value = getattr(module, attribute) if attribute else module
  globals()[name] = value
  return value


def __dir__():
  return sorted({*globals(), *__all__})
