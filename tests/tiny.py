"""Configs that train in seconds, on a small simulated market.

A config file as well: `--config=tests/tiny.py:random_search`.
"""

from alphajax.configs import (
  alphacfg,
  alphaformer,
  common,
  evolution,
  retrieval,
)

OPERATORS = ('Abs', 'CSRank', 'Add', 'Div', 'Mean', 'Std', 'Delta', 'Corr')


def shrink(config):
  """Makes any config small: its sizes, language and market, not its kind."""
  common.use_simulated_market(config, num_days=300, num_stocks=30)
  if config.data.simulate.get('planted'):
    config.data.simulate.planted = 1  # Drawing them takes the time.
  config.num_iterations = 3
  config.num_trajectories = 6
  config.store_bytes = 4 << 20
  config.label.exit = 5
  config.pool.capacity = 3
  config.language.max_length = 4
  config.language.operators = OPERATORS
  config.language.windows = (5, 10)
  config.pool.days = 40
  config.pool.every = 1
  config.pool.penalty = 0.1
  config.screen.stocks = 12
  config.screen.days = 40
  if 'evolution' in config:
    config.evolution.start = 6
    config.evolution.num_parents = 4
  if 'retrieval' in config:
    config.retrieval.library = 60
    config.retrieval.num_probes = 8
  if 'alphaformer' in config:
    config.alphaformer.num_probes = 8
    config.alphaformer.samples = 40
  if 'pretrain' in config:
    config.network.update(
      width=16, heads=2, hidden=32, latents=4, latent_layers=1, decoder_layers=1
    )
    config.tokens.update(
      anchors=8, blocks=4, pool=4, tried=3, retrieved=4, scored=4
    )
    config.pretrain.update(
      library=150, num_probes=10, stocks=20, days=60, draws=16, horizons=(5,),
      batch_size=4, num_updates=4, every=2, gate_tasks=6, gate_samples=20,
    )  # fmt: skip
  if 'search' in config:
    config.search.num_simulations = 4
    config.network.width = 8
    config.training.batch_size = 8
    config.training.replay_size = 100
    config.training.num_updates = 3
    config.training.learning_rate = 1e-3
  return config


def get_config(method='alphacfg'):
  if method == 'evolution':
    return shrink(evolution.get_config('simulated'))
  if method == 'pretraining':
    return shrink(alphaformer.get_config('simulated,pretrain'))
  if method == 'alphaformer':
    return shrink(alphaformer.get_config('simulated'))
  if method == 'retrieval':
    return shrink(retrieval.get_config('simulated'))
  config = shrink(alphacfg.get_config('simulated'))
  config.method = method
  config.early_stop = 0.0
  if method == 'random_search':
    for unused in ('search', 'network', 'training', 'value'):
      del config[unused]
  return config
