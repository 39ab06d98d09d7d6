"""Configs that train in seconds, on a small simulated market.

A config file as well: `--config=tests/tiny.py:random_search`.
"""

import importlib

import jax

from alphajax.configs import alphacfg, alphaformer, common

OPERATORS = ('Abs', 'CSRank', 'Add', 'Div', 'Mean', 'Std', 'Delta', 'Corr')
# What any config gets that has the key.
SMALL = {
  'data.simulate.planted': 1,  # Drawing them takes the time.
  'num_iterations': 3,
  'num_trajectories': 6,
  'store_bytes': 4 << 20,
  'label.exit': 5,
  'pool.capacity': 3,
  'pool.days': 40,
  'pool.every': 1,
  'pool.penalty': 0.1,
  'language.max_length': 4,
  'language.operators': OPERATORS,
  'language.windows': (5, 10),
  'screen.stocks': 12,
  'screen.days': 40,
  'evolution.start': 6,
  'evolution.num_parents': 4,
  'gp.tournament': 3,
  'gp.init_depth': (1, 2),
  'qcm.start_steps': 20,
  'qcm.random_decay_steps': 60,
  'qcm.num_levels': 8,
  'qcm.num_target_levels': 8,
  'qcm.num_moment_levels': 8,
  'ppo.num_epochs': 2,
  'ppo.num_minibatches': 2,
  'panels.num_panels': 3,
  'panels.num_days': 40,
  'panels.num_stocks': 10,
  'pretrain.library': 150,
  'pretrain.num_probes': 10,
  'pretrain.stocks': 20,
  'pretrain.days': 60,
  'pretrain.draws': 16,
  'pretrain.horizons': (5,),
  'pretrain.batch_size': 4,
  'pretrain.every': 2,
  'pretrain.gate_tasks': 6,
  'pretrain.gate_samples': 20,
  'tokens.anchors': 8,
  'tokens.blocks': 4,
  'tokens.pool': 4,
  'tokens.tried': 3,
  'tokens.retrieved': 4,
  'tokens.scored': 4,
  'alphaformer.num_probes': 8,
  'alphaformer.samples': 40,
  'retrieval.library': 60,
  'retrieval.num_probes': 8,
  'search.num_simulations': 4,
  'network.width': 8,
  'network.num_cosines': 8,
  'network.num_heads': 2,
  'network.heads': 2,
  'network.latents': 4,
  'network.latent_layers': 1,
  'network.hidden': 8,
  'network.encoder_layers': 1,
  'network.decoder_layers': 1,
  'training.batch_size': 8,
  'training.replay_size': 100,
  'training.num_updates': 3,
  'training.learning_rate': 1e-3,
  'training.target_interval': 25,
}


def shrink(config):
  """Makes any config small: its sizes, language and market, not its kind."""
  common.use_simulated_market(config, num_days=300, num_stocks=30)
  for key, value in SMALL.items():
    *sections, name = key.split('.')
    place = config
    for section in sections:
      place = place.get(section, {})
    if name in place:
      place[name] = value
  if 'ppo' in config:  # As published they look back half of the days.
    config.lookback = 0
    config.language.constants = (-1.0, 2.0)
  if 'panels' in config:
    config.pretrain.update(num_updates=1, panels=2, pool_sizes=(2,))
  if config.method == 'pretraining':
    config.pretrain.num_updates = 4
    config.network.update(width=16, hidden=32)
  return config


def with_few_programs(config):
  """For processes of their own, which trace them all: less to evaluate."""
  config.data.simulate.update(alphas=(), strength=0.0)
  config.language.operators = ('CSRank', 'Add', 'Div', 'Mean')
  config.language.windows = (5,)
  return config


def shrink_predictor(config):
  """The same of a config whose method learns from characteristics."""
  common.use_simulated_market(config, num_days=300, num_stocks=30)
  if config.data.simulate.get('planted'):
    config.data.simulate.planted = 1
  config.num_iterations = 2
  config.store_bytes = 4 << 20
  config.label.exit = 5
  config.features.name = 'raw'  # Few programs to compile.
  config.features.days = 3
  if 'booster' in config:
    config.booster.rounds = 3
    config.booster.threads = 1
  if 'network' in config:
    config.network.width = 8
    config.training.batch_size = 128
    config.training.learning_rate = 1e-2
  if config.method == 'tcn':
    config.network.update(layers=2, kernel=2)
  if config.method == 'transformer':
    config.network.update(layers=1, feed_forward=16)
  return config


def get_config(method='alphacfg'):
  """Of a method; of `method,few` the programs are few."""
  method, _, few = method.partition(',')
  if few:
    return with_few_programs(get_config(method))
  if method == 'pretraining':
    return shrink(alphaformer.get_config('simulated,pretrain'))
  if method not in ('alphacfg', 'random_search', 'refinement'):
    module = importlib.import_module(f'alphajax.configs.{method}')
    return shrink(module.get_config('simulated'))
  config = shrink(alphacfg.get_config('simulated'))
  config.method = method
  config.early_stop = 0.0
  if method == 'random_search':
    for unused in ('search', 'network', 'training', 'value'):
      del config[unused]
  return config


def run(method, steps, state=None, first=0):
  """State and metrics after so many steps, the seconds left out.

  state: where they begin; None: at the start of a run.
  first: number of the first of them, by which its key is drawn.
  """
  state = method.init(jax.random.key(0)) if state is None else state
  records = []
  for n in range(first, first + steps):
    state, metrics = method.step(state, jax.random.key(n))
    records.append({**metrics, 'seconds': {}})
  return state, records
