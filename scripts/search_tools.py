"""What the scripts that compare searches share: runs, paired intervals."""

import json
import subprocess
import sys
from pathlib import Path

from alphajax.run import seeds

DATA = {'csi300': 'cn_csi300.parquet', 'sp500': 'us_sp500.parquet'}


def train(workdir: Path, config: str, *settings: str) -> None:
  """Trains, or continues, a run; its words go to a file beside the folder.

  settings: `key=value` of the config.
  """
  workdir.parent.mkdir(parents=True, exist_ok=True)
  command = [sys.executable, '-m', 'alphajax.train', f'--workdir={workdir}']
  command += [f'--config=configs/{config}']
  command += [f'--config.{setting}' for setting in settings]
  with open(f'{workdir}.log', 'w') as log:
    subprocess.run(command, check=True, stderr=log, stdout=log)


def mine_simulated(
  workdir: Path, config: str, seed: int, *settings: str
) -> dict:
  """Mines the simulated market of a seed; returns the last record, and pool."""
  train(
    workdir, config, f'seed={seed}', f'data.simulate.seed={seed}',
    'early_stop=0.0', *settings,
  )  # fmt: skip
  pool = json.loads((workdir / 'pool.json').read_text())
  return {**history(workdir)[-1], 'pool': pool}


def history(workdir: Path) -> list[dict]:
  """The metrics of a run, a record an iteration."""
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def interval(values, digits: int = 3) -> str:
  """Mean with its 95 % Student interval over seeds."""
  mean, _, *bounds = seeds.student_interval(values)
  numbers = (mean, *bounds)
  return '{} [{}, {}]'.format(*(f'{x:+.{digits}f}' for x in numbers))
