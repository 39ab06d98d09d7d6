r"""Predictors on one bench: validation IC, what they read, and CPU time.

python scripts/predictors.py --data=../shared/data/cn_csi300.parquet \
  --configs=linear,lightgbm,lstm --every=20 --iterations=4 --out=bench.jsonl

Trained on the train split of the configs and judged on validation; the test
split is not loaded. A line a predictor is printed and added to `--out`.
"""

import json
import time
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

from alphajax import cli, experiment, markets
from alphajax.judge import figures
from alphajax.run import cache

_DATA = flags.DEFINE_string('data', None, 'A market.', required=True)
_CONFIGS = flags.DEFINE_list('configs', ['linear'], 'Names of predictors.')
_EVERY = flags.DEFINE_integer('every', 1, 'Of so many train days one is read.')
_ITERATIONS = flags.DEFINE_integer('iterations', 0, '0: the config says.')
_SET = flags.DEFINE_multi_string('set', [], 'KEY=VALUE of all configs.')
_OUT = flags.DEFINE_string('out', None, 'JSON lines of the figures.')


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
    **{key: pool[key] for key in ('ic', 'rank_ic', 'icir')},
    'cpu_seconds': round(seconds),
    'coverage': float(np.asarray(pool['coverage'])),
  }


def main(argv):
  del argv
  cache.use_disk_cache()
  for name in _CONFIGS.value:
    settings = [f'data.path={_DATA.value}', f'features.every={_EVERY.value}']
    if _ITERATIONS.value:
      settings.append(f'num_iterations={_ITERATIONS.value}')
    config = cli.read_config(f'{name}.py:csi300', settings + _SET.value)
    line = json.dumps(measure(config))
    print(line, flush=True)
    if _OUT.value:
      with Path(_OUT.value).open('a') as file:
        file.write(line + '\n')


if __name__ == '__main__':
  app.run(main)
