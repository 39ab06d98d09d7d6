r"""Evolution: the best formulas varied, and a pool chosen from all of them.

python -m alphajax.train --config=configs/evolution.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/evolution
"""

from ml_collections import config_dict

from alphajax.configs import common
from alphajax.search import evolution


def get_config(variant='csi300'):
  config = common.get_config()
  common.use_market(config, variant)
  config.method = 'evolution'
  config.num_iterations = 50
  config.num_trajectories = 50
  config.early_stop = 0.0
  config.screen.twin = 0.99
  config.pool.rule = 'elastic_net'

  config.evolution = config_dict.ConfigDict()
  # Whose derivations are varied: `niches`, the strongest formulas that are
  # unlike each other, or the `pool` of Algorithm 1.
  config.evolution.parents = 'niches'
  config.evolution.num_parents = 30  # Niches at most.
  config.evolution.niche_corr = 0.7  # Between two of them, by its size.
  # The strength of a parent: its `own` IC, or what the chosen pool leaves
  # `unexplained`: its correlation with the rest of the label.
  config.evolution.fitness = 'own'
  config.evolution.fresh = 0.1  # Share of formulas without a parent.
  config.evolution.start = 150  # Formulas before there are parents.
  config.evolution.candidates = 3  # Proposed at a time for each evaluated.
  # How a parent is varied, one as likely as another.
  config.evolution.operators = evolution.OPERATORS
  return config
