"""The methods that a config can name."""

from alphajax import lookup

# Short names; any other is an import path.
METHODS = {
  name: f'alphajax.methods.{name}'
  for name in (
    'alphacfg',
    'alphaformer',
    'ensemble',
    'evolution',
    'pretraining',
    'random_search',
    'refinement',
    'retrieval',
  )
}


def module(config):
  """The module of the method that the config names, see `methods.base`."""
  return lookup.resolve(config.method, METHODS, key='config.method')
