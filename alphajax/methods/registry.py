"""The methods that a config can name."""

from alphajax import lookup

# Short names; any other is an import path.
METHODS = {
  name: f'alphajax.methods.{name}'
  for name in (
    'alphacfg',
    'alphaformer',
    'alphaformer_paper',
    'alphagen',
    'alphaqcm',
    'ensemble',
    'evolution',
    'gflownet',
    'gp',
    'pretraining',
    'published',
    'random_search',
    'refinement',
    'retrieval',
  )
}
# Predictors are called as the field does; several share a module.
_PREDICTORS = {
  'linear': 'alphajax.methods.ridge',
  'lightgbm': 'alphajax.methods.boosting',
  'xgboost': 'alphajax.methods.boosting',
  'lstm': 'alphajax.methods.sequence_predictor',
  'alstm': 'alphajax.methods.sequence_predictor',
  'tcn': 'alphajax.methods.sequence_predictor',
  'transformer': 'alphajax.methods.sequence_predictor',
}
METHODS |= _PREDICTORS
# Those that begin with no formulas of the user, or of another run.
MINE_NOTHING = (
  'ensemble', 'pretraining', 'published', 'refinement', *_PREDICTORS,
)  # fmt: skip


def module(config):
  """The module of the method that the config names, see `methods.base`."""
  return lookup.resolve(
    config.method, METHODS, key='config.method',
    needs=('make(config, market)',),
  )  # fmt: skip
