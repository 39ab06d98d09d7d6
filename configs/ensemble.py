r"""Several runs as one signal: seeds, methods, or years of a walk.

python -m alphajax.train --config=configs/ensemble.py:csi300 \
  --config.runs="('runs/seed_0','runs/seed_1')" \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/ensemble

Walked forward, the runs are folders of walks over the same years:

python -m alphajax.walk_forward --config=configs/ensemble.py:csi300 \
  --config.runs="('runs/walk_0','runs/walk_1')" \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/walk_all
"""

from ml_collections import config_dict

from alphajax.configs import random


def get_config(variant='csi300'):
  config = random.get_config(variant)
  config.method = 'ensemble'
  config.num_iterations = 1
  # Folders of runs whose pools are joined.
  config.runs = ()
  config.ensemble = config_dict.ConfigDict()
  # `equal`: every pool the same, its signal standardised per day; `fit`: one
  # pool of all their formulas by config.pool.rule, on the train split.
  config.ensemble.weighting = 'equal'
  config.ensemble.pools = ''  # What was read of the runs; set by the run.
  config.pool.rule = 'elastic_net'  # Of `fit`; or another that chooses.
  return config
