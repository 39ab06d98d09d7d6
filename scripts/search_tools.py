"""What the scripts that compare searches share: runs, paired intervals."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from scipy import stats

# Eq. 5 pays every formula the IC of the whole pool, about the same for all, and
# raw ICs of 0.05 are lost beside PUCT's exploration term. Here a formula is
# paid its own IC, values are scaled up in the search, every root gets noise,
# and the network learns faster.
GUIDED = (
  '--config.value.reward=factor',
  '--config.value.scale=10.0',
  '--config.search.dirichlet_fraction=0.25',
  '--config.training.learning_rate=1e-3',
)


def run(workdir: Path, config: str, seed: int, *options: str) -> dict:
  """Trains, or continues, a run; returns its last record of metrics."""
  workdir.parent.mkdir(parents=True, exist_ok=True)
  command = [
    sys.executable, '-m', 'alphajax.train', f'--config=configs/{config}',
    f'--workdir={workdir}', f'--config.seed={seed}',
    f'--config.data.simulate.seed={seed}', '--config.early_stop=0.0', *options,
  ]  # fmt: skip
  with open(f'{workdir}.log', 'w') as log:
    subprocess.run(command, check=True, stderr=log, stdout=log)
  pool = json.loads((workdir / 'pool.json').read_text())
  return {**history(workdir)[-1], 'pool': pool}


def history(workdir: Path) -> list[dict]:
  """The metrics of a run, a record an iteration."""
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def interval(values) -> str:
  """Mean with its 95 % Student interval over seeds."""
  values = np.asarray(values)
  half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
  return f'{values.mean():+.3f} [{values.mean() - half:+.3f}, '\
         f'{values.mean() + half:+.3f}]'  # fmt: skip
