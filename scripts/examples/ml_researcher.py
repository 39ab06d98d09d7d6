r"""For an ML researcher: two options, the same seeds, the paired difference.

python scripts/examples/ml_researcher.py runs/grammars

Which grammar is easier to find something in? Any key of a config is changed in
the same way: `alphajax configs alphacfg` lists them. A run that is there
already is not repeated.
"""

import sys
from pathlib import Path

from alphajax import sweep
from alphajax.configs import common, random

GRAMMARS = ('sem_k', 'syn')
OPERATORS = ('Abs', 'CSRank', 'Sub', 'Div', 'Mean', 'Delta')
NUM_SEEDS = 2


def make_config(grammar):
  """Random search on a small simulated market."""
  config = random.get_config('simulated')
  common.use_simulated_market(config, num_days=400, num_stocks=40)
  config.label.exit = 5
  config.pool.capacity = 3
  config.language.name = grammar
  config.language.max_length = 3
  config.language.windows = (5, 10)
  config.language.operators = OPERATORS
  config.lookback = 30  # One for both, so that they see the same days.
  config.num_iterations = 3
  config.num_trajectories = 20
  return config


def main(folder):
  """Prints the best validation IC, and what the first grammar changes in it.

  Seed by seed, and with a 95 % interval. Returns a row a run.
  """
  grammars = {grammar: make_config(grammar) for grammar in GRAMMARS}
  runs = sweep.plan(grammars, Path(folder), range(NUM_SEEDS))
  return sweep.sweep(runs, folder, ['best_valid_ic'], control=GRAMMARS[1])


if __name__ == '__main__':
  main(sys.argv[1])
