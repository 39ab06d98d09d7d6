r"""AlphaCFG on the embedded market: a first look in a few minutes.

python -m alphajax.train --config=configs/quickstart.py --workdir=runs/quick

Takes about 2 minutes on two cores, compile time included. Three alphas are
planted in the market, strongly; the report shows the IC of their true
combination beside that of the pool, which gets to about 90 % of it. The
language is smaller than the paper's, so that a short run gets far.
"""

from alphajax.configs import alphacfg, common

OPERATORS = (
  'Abs', 'Log', 'CSRank', 'Add', 'Sub', 'Mul', 'Div', 'Mean', 'Std', 'Max',
  'Min', 'Rank', 'Delta', 'Corr',
)  # fmt: skip


def get_config():
  config = alphacfg.get_config('simulated')
  common.use_simulated_market(config, num_days=2000, num_stocks=150)
  config.data.simulate.strength = 0.1
  config.num_iterations = 30
  config.num_trajectories = 64
  config.early_stop = 0.0  # A short run is shown whole.
  config.language.max_length = 6
  config.language.operators = OPERATORS
  config.search.num_simulations = 32
  config.training.learning_rate = 1e-3  # Few updates: larger steps.
  return config
