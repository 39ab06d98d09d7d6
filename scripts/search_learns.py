r"""Does the search learn? AlphaCFG and random search on planted markets.

python scripts/search_learns.py --out=runs/learns [--seeds=5] [--iterations=15]

For each seed a market is simulated, AlphaCFG mines it with the paper's
settings and with `search_tools.GUIDED`, and random search evaluates as many
formulas as each of them did. The table shows the validation IC at the end as a
share of the planted ceiling, and the differences paired by seed; then the same
on markets without any alpha, where nothing can be found. Resumable: a finished
run is not repeated.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from absl import app, flags
from search_tools import GUIDED, interval, run

_OUT = flags.DEFINE_string('out', 'runs/learns', 'Folder of the runs.')
_SEEDS = flags.DEFINE_integer('seeds', 5, 'Number of seeds.')
_ITERATIONS = flags.DEFINE_integer('iterations', 15, 'Iterations of AlphaCFG.')
_VARIANTS = flags.DEFINE_list('variants', ['paper', 'guided'], 'Which to run.')
_NOISE = flags.DEFINE_integer('noise_seeds', 2, 'Seeds of pure noise.')


def pair(out: Path, name: str, seed: int, strength: float, options) -> dict:
  """AlphaCFG and random search with as many evaluated formulas."""
  market = f'--config.data.simulate.strength={strength}'
  ours = run(
    out / f'{name}_{seed}', 'alphacfg.py:simulated', seed, market,
    f'--config.num_iterations={_ITERATIONS.value}', *options,
  )  # fmt: skip
  control = run(
    out / f'{name}_{seed}_random', 'random.py:simulated', seed, market,
    '--config.num_iterations=1000',
    f'--config.max_evaluated={ours["evaluated"]}',
  )  # fmt: skip
  ceiling = (ours['pool'].get('ceiling') or {}).get('valid')
  return {
    'seed': seed,
    'evaluated': ours['evaluated'],
    'ceiling': ceiling,
    'ours': ours['valid_ic'],
    'random': control['valid_ic'],
    'ours_train': ours['train_ic'],
    'random_train': control['train_ic'],
  }


def test_ic(workdir: Path) -> str:
  """IC of a run's best pool on the test split, with its interval."""
  command = [sys.executable, '-m', 'alphajax.evaluate', f'--workdir={workdir}']
  if not (workdir / 'results.json').exists():
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
  figures = json.loads((workdir / 'results.json').read_text())['test']['ic']
  return '{mean:+.4f} [{low:+.4f}, {high:+.4f}]'.format(**figures)


def table(name: str, rows: list[dict]) -> None:
  """Prints the runs of one variant, and the paired difference."""
  print(f'\n{name}\n| seed | evaluated | ceiling | AlphaCFG | random |'
        ' AlphaCFG train | random train |\n|' + ' --- |' * 7)  # fmt: skip
  for row in rows:
    ceiling = '-' if row['ceiling'] is None else f'{row["ceiling"]:.4f}'
    figures = (row[key] for key in
               ('ours', 'random', 'ours_train', 'random_train'))  # fmt: skip
    cells = ' | '.join(f'{figure:.4f}' for figure in figures)
    print(f'| {row["seed"]} | {row["evaluated"]} | {ceiling} | {cells} |')
  scale = np.array([row['ceiling'] or 1.0 for row in rows])
  ours = np.array([row['ours'] for row in rows]) / scale
  control = np.array([row['random'] for row in rows]) / scale
  if len(rows) > 1:
    unit = 'share of the ceiling' if rows[0]['ceiling'] else 'IC'
    print(f'validation, {unit}: AlphaCFG {interval(ours)}, random '
          f'{interval(control)}, difference {interval(ours - control)}'
          )  # fmt: skip


def main(argv):
  del argv
  out = Path(_OUT.value)
  options = {'paper': (), 'guided': GUIDED}
  for variant in _VARIANTS.value:
    rows = [
      pair(out, variant, seed, 0.05, options[variant])
      for seed in range(_SEEDS.value)
    ]
    table(f'{variant}, planted alphas', rows)
    noise = [
      pair(out, f'{variant}_noise', seed, 0.0, options[variant])
      for seed in range(_NOISE.value)
    ]
    if noise:
      table(f'{variant}, pure noise', noise)
    for row in noise:
      name = f'{variant}_noise_{row["seed"]}'
      for workdir in (out / name, out / f'{name}_random'):
        print(f'  {workdir.name}: test IC {test_ic(workdir)}')
    (out / f'{variant}.json').write_text(
      json.dumps({'planted': rows, 'noise': noise}, indent=1)
    )


if __name__ == '__main__':
  app.run(main)
