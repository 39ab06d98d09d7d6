r"""AlphaFormer as in its paper: pre-trained on synthetic markets, then fixed.

python -m alphajax.train --config=configs/alphaformer_paper.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/paper

The first config.pretrain.num_updates iterations are updates of PPO on synthetic
markets, paid by the IC of their pools; the others write formulas for the real
market with parameters fixed. Huang et al. 2026, PMLR 328, pages 61-82: [paper];
[ours] where it says nothing, or where two cores cannot do as much. It has 1,000
markets of 300 to 800 stocks and 500 to 1,000 days, whose reading alone is 165
GFLOP a market; here 64 of 64 stocks and 250 days, 8 GFLOP, read once an epoch.
`alphaformer.py:csi300,paper` is the same. On simulated markets the network and
its markets are small, and half of the iterations are updates: a look at it.
"""

from ml_collections import config_dict

from alphajax.configs import alphagen


def get_config(variant='csi300'):
  config = alphagen.get_config(variant)
  for unused in ('value', 'network'):
    del config[unused]
  config.method = 'alphaformer_paper'
  # 20,000 formulas for the real market [paper].
  config.num_iterations = 300
  config.num_trajectories = 100
  # The operators, constants and windows of config.language are AlphaGen's
  # [paper], its bounds of tokens and of the look-back too [ours].
  config.pool.capacity = 100  # Of the real market [paper]; 10 is ours.
  config.pool.accept = 'always'

  # Of ppo [paper] has the clip, value weight, learning rate, norm and epochs.
  # A formula is paid at its end, and the value is one for all of its moves: so
  # an advantage is reward less value [paper].
  config.ppo.gae_lambda = 1.0
  config.ppo.num_minibatches = 4  # [paper] 100, of what is not said.

  config.network = config_dict.ConfigDict()
  config.network.width = 128  # [paper]
  config.network.num_heads = 4  # [ours]
  config.network.hidden = 512  # Of the feed-forward layers [paper].
  # LSTM over the path of a stock, and over the tokens of a formula [paper].
  config.network.lstm_layers = 2
  config.network.encoder_layers = 2  # Across stocks, and over the pool [paper].
  config.network.decoder_layers = 4  # [paper]

  config.panels = config_dict.ConfigDict()
  # A folder of panels by alphajax synthesize; empty: drawn at the start.
  config.panels.folder = ''
  # bootstrap: days of the training split in blocks; garch: of its factors.
  config.panels.family = 'bootstrap'
  config.panels.block = 20.0  # Mean length in days, of bootstrap.
  config.panels.num_panels = 64  # Drawn.
  config.panels.num_days = 250  # Of each, and read of the real market.
  # Those with most days as members.
  config.panels.num_stocks = 64

  config.pretrain = config_dict.ConfigDict()
  # [ours] Of some 3,000 GFLOP each: minutes on two cores.
  config.pretrain.num_updates = 100
  config.pretrain.panels = 8  # Markets of an update, drawn anew [ours].
  # An update draws one as the capacity M of its pools, and writes 2 M formulas
  # for each market [paper].
  config.pretrain.pool_sizes = (1, 10, 20)
  if config.data.source == 'simulated':
    _look(config)
  return config


def _look(config) -> None:
  """Sizes that two cores pay for in minutes; nothing of them is published."""
  config.num_iterations = 20
  # Follows from num_iterations, unless it is set.
  config.pretrain.num_updates = config.get_ref('num_iterations') // 2
  config.pool.capacity = 10
  config.network.width = 32
  config.network.hidden = 64
  config.network.decoder_layers = 2
  config.panels.num_panels = 4
  config.panels.num_stocks = 24
  config.pretrain.panels = 2
  config.pretrain.pool_sizes = (4,)
