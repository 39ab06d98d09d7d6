r"""Predictors on one bench: validation IC, what they read, and CPU time.

python scripts/predictors.py --data=../shared/data/cn_csi300.parquet \
  --configs=linear,lightgbm,lstm --every=20 --iterations=4 --out=bench.csv

Trained on the train split of the configs and judged on validation; the test
split is not loaded. `--out` has a line for each.
"""

import time

import jax
import numpy as np
import pandas as pd
from absl import app, flags

from alphajax import cli, experiment, markets
from alphajax.judge import figures
from alphajax.run import cache

_DATA = flags.DEFINE_string('data', None, 'A market.', required=True)
_CONFIGS = flags.DEFINE_list('configs', ['linear'], 'Names of predictors.')
_EVERY = flags.DEFINE_integer('every', 1, 'Of so many train days one is read.')
_ITERATIONS = flags.DEFINE_integer('iterations', 0, '0: the config says.')
_SET = flags.DEFINE_multi_string('set', [], 'KEY=VALUE of all configs.')
_OUT = flags.DEFINE_string('out', None, 'CSV of the figures.')


def measure(config) -> dict:
  """Trains as `alphajax train` does, without a folder."""
  begin = time.process_time()
  market, _ = markets.load_market(config)
  method = experiment.make_method(config, market)
  rng_key = jax.random.key(config.seed)
  state = method.init(jax.random.fold_in(rng_key, 0))
  done, metrics = 0, {}
  while done < config.num_iterations and not method.finished(state):
    done += 1
    state, metrics = method.step(state, jax.random.fold_in(rng_key, done))
  seconds = time.process_time() - begin
  signal = method.predict(state, market.valid.panel)
  pool, _ = figures.of_signal(signal, market.valid, markets.label_spec(config))
  return {
    'predictor': config.method,
    'iterations': done,
    'best': method.found(state).iteration,
    'train_ic': metrics['train_ic'],
    **{f'ic_{key}': value for key, value in pool['ic'].items()},
    'rank_ic': pool['rank_ic']['mean'],
    'icir': pool['icir'],
    'cpu_seconds': round(seconds),
    'coverage': float(np.asarray(pool['coverage'])),
  }


def main(argv):
  del argv
  cache.use_disk_cache()
  found = []
  for name in _CONFIGS.value:
    settings = [f'data.path={_DATA.value}', f'features.every={_EVERY.value}']
    if _ITERATIONS.value:
      settings.append(f'num_iterations={_ITERATIONS.value}')
    config = cli.read_config(f'{name}.py:csi300', settings + _SET.value)
    found.append(measure(config))
    print(found[-1], flush=True)
    if _OUT.value:
      pd.DataFrame(found).to_csv(_OUT.value, index=False)


if __name__ == '__main__':
  app.run(main)
