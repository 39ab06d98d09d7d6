r"""AlphaCFG with the paper's settings (Appendix H).

python -m alphajax.train --config=configs/alphacfg.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/csi300

Variants: csi300, sp500 (pool of 20, as the paper found best there), simulated.
"""

from ml_collections import config_dict

from configs import common


def get_config(variant='csi300'):
  config = common.get_config()
  config.method = 'alphacfg'

  config.search = config_dict.ConfigDict()
  config.search.num_simulations = 64
  config.search.c_puct = 1.0
  config.search.base_branches = 40
  config.search.temperature = 1.0
  config.search.dirichlet_fraction = 0.0
  config.search.dirichlet_alpha = 0.3
  config.search.q_transform = 'none'  # The paper's Q; 'minmax' rescales it.

  config.network = config_dict.ConfigDict()
  config.network.width = 128  # Embedding and hidden state.
  config.network.dropout = 0.1

  config.training = config_dict.ConfigDict()
  config.training.learning_rate = 1e-4
  config.training.batch_size = 64
  config.training.replay_size = 20_000
  config.training.num_updates = 50  # Gradient steps an iteration.
  config.training.l2 = 1e-4

  config.value = config_dict.ConfigDict()
  # Eq. 5 with the similarity of the finished `formula` or of each `state`;
  # `none` leaves the similarity out.
  config.value.similarity = 'formula'
  config.value.reward = 'pool'  # IC of the pool; 'factor': of the formula.
  # An IC of 0.05 is lost beside PUCT's exploration and the policy's loss; the
  # paper leaves it as it is.
  config.value.scale = 1.0
  # A formula evaluated before is worth the same `again`, or `nothing`.
  config.value.known = 'again'

  if variant == 'simulated':
    common.use_simulated_market(config)
  elif variant not in common.MARKETS:
    raise ValueError(
      f'unknown variant {variant!r}: expected csi300, sp500 or simulated'
    )
  return config
