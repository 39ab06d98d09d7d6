r"""Ridge regression on the characteristics of Alpha158.

python -m alphajax.train --config=configs/linear.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/linear
"""

from ml_collections import config_dict

from alphajax.configs import common

UNUSED = (
  'language', 'pool', 'screen', 'refine', 'archive', 'keep_rows',
  'num_trajectories', 'mesh', 'early_stop', 'max_evaluated',
)  # fmt: skip


def get_config(variant='csi300'):
  config = common.get_config()
  common.use_market(config, variant)
  for unused in UNUSED:  # Nothing is mined.
    del config[unused]
  config.method = 'linear'
  config.num_iterations = 6  # A penalty each.

  config.features = config_dict.ConfigDict()
  # alpha158; selected, the 20 of them that qlib's networks read; raw: prices
  # over today's close, volumes over today's.
  config.features.name = 'alpha158'
  config.features.days = 1  # That are read, the last one today.
  # none; day: z-scores among the members of a day; robust: (x - median) /
  # (1.4826 MAD), both over the train rows, as in qlib.
  config.features.scale = 'day'
  config.features.clip = 3.0  # Of what is scaled, to both sides; 0: not.
  config.features.dtype = 'float16'  # In which rows are held, or float32.
  config.features.every = 1  # Of so many train days one is learned from.

  config.training = config_dict.ConfigDict()
  # What is learned: the label's zscore or rank among the members of a day, as
  # qlib's CSZScoreNorm and CSRankNorm, or plain.
  config.training.label = 'zscore'

  config.ridge = config_dict.ConfigDict()
  # Of the squared weights, to squared errors summed over the rows, one an
  # iteration; the best on validation is kept.
  config.ridge.penalties = (1e1, 1e2, 1e3, 1e4, 1e5, 1e6)
  return config
