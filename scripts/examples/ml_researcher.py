r"""For an ML researcher: two options, the same seeds, the paired difference.

python scripts/examples/ml_researcher.py runs/grammars

Which grammar is easier to find something in? Any key of a config is changed in
the same way: `alphajax configs alphacfg` lists them. A run that is there
already is not repeated.
"""

import sys
from pathlib import Path

import numpy as np

import alphajax
from alphajax.configs import common, random
from alphajax.run import seeds
from alphajax.train import train

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
  config.num_seeds = NUM_SEEDS
  return config


def main(folder):
  """Prints the best validation IC of each run and what the grammar changes."""
  best = {}
  for grammar in GRAMMARS:
    workdir = Path(folder) / grammar
    seeds.train_each(make_config(grammar), workdir, train)
    runs = [alphajax.load_run(workdir / f'seed_{n}') for n in range(NUM_SEEDS)]
    best[grammar] = np.array([run.metrics[-1]['best_valid_ic'] for run in runs])
    print(grammar, best[grammar].round(4))
  first, second = GRAMMARS
  change = best[first] - best[second]  # Seed by seed: the same games' luck.
  error = change.std(ddof=1) / len(change) ** 0.5
  print(f'{first} less {second}: {change.mean():.4f}, error {error:.4f}')
  return best


if __name__ == '__main__':
  main(sys.argv[1])
