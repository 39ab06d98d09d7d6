r"""Genetic programming, the paper's baseline: gplearn's scheme.

python -m alphajax.train --config=configs/gp.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/gp

Numbers are those of `gp.py` in RL-MLDM/alphagen @ 1c18754, which AlphaSAGE
(`train_GP.py`) uses unchanged. Its trees may have 20 parentheses and longer
ones have an IC of -1; here the bound of the language holds. Its pool is the 20
best by IC of which no two correlate by more than .7: `--config.pool.rule=
best_distinct --config.pool.capacity=20 --config.pool.max_corr=0.7`.
"""

from ml_collections import config_dict

from alphajax.configs import common


def get_config(variant='csi300'):
  config = common.get_config()
  common.use_market(config, variant)
  config.method = 'gp'
  config.num_iterations = 40  # Generations,
  config.num_trajectories = 1000  # and formulas in each.

  config.gp = config_dict.ConfigDict()
  # Of so many, drawn with replacement, the fittest becomes a parent. In a
  # smaller population take as small a share.
  config.gp.tournament = 600
  config.gp.init_depth = (2, 6)  # Of trees written afresh, half and half.
  # Probability that a child is a crossover of two parents; what the four leave
  # of 1, .49, is that of a copy.
  config.gp.crossover = 0.3
  config.gp.subtree = 0.1  # That a tree written afresh joins one parent.
  config.gp.hoist = 0.01  # That a part of a part takes its place.
  config.gp.point = 0.1  # That nodes are exchanged for their like.
  config.gp.point_replace = 0.6  # Of every node under a point mutation.
  # Taken off the fitness, |IC|, in a tournament, for every node of a tree.
  config.gp.parsimony = 0.0
  return config
