r"""Retrieval: a library of formulas, ranked by what a few of them say.

python -m alphajax.train --config=configs/retrieval.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/retrieval

The ICs of some dozens of probes and the correlations among formulas, which
need no label, predict the ICs of all others; the best by prediction are
evaluated, and the prediction is made anew. Nothing is trained.
"""

from ml_collections import config_dict

from alphajax.configs import common


def get_config(variant='csi300'):
  config = common.get_config()
  common.use_market(config, variant)
  config.method = 'retrieval'
  config.num_iterations = 50
  config.num_trajectories = 50
  config.early_stop = 0.0
  config.screen.twin = 0.97  # No two of the library are more alike.
  config.pool.rule = 'bagged'

  config.retrieval = config_dict.ConfigDict()
  # Formulas drawn once, by the seed, from which all are taken.
  config.retrieval.library = 3000
  # Evaluated first, those of the library that explain the others best;
  config.retrieval.num_probes = 64
  config.retrieval.probe_size = 8  # symbols in a probe, windows too, at most.
  # Of the regression, in units of a formula's variance.
  config.retrieval.ridge = 0.3
  # What is evaluated next is the best by predicted `ic`, or by the `gain` that
  # is predicted of it beside the pool.
  config.retrieval.score = 'gain'
  # How often the variance of a predicted IC is added to its square: 0 goes for
  # what is known to be good, more for what nothing is known of.
  config.retrieval.explore = 1.0
  # Of two formulas of an iteration, by its size; 1: whatever is best.
  config.retrieval.max_corr = 0.5
  config.retrieval.blocks = 8  # Of train days, whose ICs are compared.
  return config
