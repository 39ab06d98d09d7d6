r"""Does the search learn? AlphaCFG and random search on planted markets.

python scripts/search_learns.py --out=runs/learns [--seeds=5] [--evaluated=1000]

For each seed a market is simulated, AlphaCFG mines it with the paper's
settings and with those of `configs/alphacfg.py:best`, and random search
evaluates as many formulas as each of them did. The table shows the IC at the
end as a share of the planted ceiling, and the differences paired by seed; then
the same on markets without any alpha, where nothing can be found. Resumable: a
finished run is not repeated.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from absl import app, flags
from search_tools import interval, mine_simulated

_OUT = flags.DEFINE_string('out', 'runs/learns', 'Folder of the runs.')
_SEEDS = flags.DEFINE_integer('seeds', 5, 'Number of seeds.')
_EVALUATED = flags.DEFINE_integer('evaluated', 1000, 'Formulas of a run.')
_MARKET = flags.DEFINE_string('market', 'simulated_large', 'Which market.')
_VARIANTS = flags.DEFINE_list('variants', ['paper', 'best'], 'Which to run.')
_NOISE = flags.DEFINE_integer('noise_seeds', 2, 'Seeds of pure noise.')


def pair(out: Path, name: str, variant: str, seed: int, strength: float):
  """AlphaCFG and random search with as many evaluated formulas; a row."""
  settings = '' if variant == 'paper' else f',{variant}'
  market = f'data.simulate.strength={strength}'
  ours = mine_simulated(
    out / f'{name}_{seed}', f'alphacfg.py:{_MARKET.value}{settings}', seed,
    market, f'max_evaluated={_EVALUATED.value}',
    # Enough for three proposals to each new formula.
    f'num_iterations={max(3, 3 * _EVALUATED.value // 100)}',
  )  # fmt: skip
  control = mine_simulated(
    out / f'{name}_{seed}_random', f'random.py:{_MARKET.value}', seed,
    market, f'max_evaluated={ours["evaluated"]}', 'num_iterations=1000',
  )  # fmt: skip
  return {
    'seed': seed,
    'evaluated': ours['evaluated'],
    'ceiling': ours['pool']['ceiling'],
    'valid': (ours['valid_ic'], control['valid_ic']),
    'train': (ours['train_ic'], control['train_ic']),
  }


def figures_of(workdir: Path) -> str:
  """IC of a run's best pool on validation and test, with its interval.

  Validation chose that pool among those of all iterations.
  """
  command = [sys.executable, '-m', 'alphajax.evaluate', f'--workdir={workdir}']
  if not (workdir / 'results.json').exists():
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
  found = {
    'valid': json.loads((workdir / 'pool.json').read_text())['pool']['valid'],
    'test': json.loads((workdir / 'results.json').read_text())['test'],
  }
  return ', '.join(
    f'{split} IC '
    + '{mean:+.4f} [{low:+.4f}, {high:+.4f}]'.format(**each['ic'])
    for split, each in found.items()
  )


def table(name: str, rows: list[dict]) -> None:
  """Prints the runs of one variant, and the paired differences."""
  print(f'\n{name}\n| seed | evaluated | split | ceiling | AlphaCFG | random |'
        '\n|' + ' --- |' * 6)  # fmt: skip
  for row in rows:
    for split in ('train', 'valid'):
      ceiling = row['ceiling'][split]
      cells = ['-' if ceiling is None else f'{ceiling:.4f}']
      cells += [f'{figure:.4f}' for figure in row[split]]
      print(f'| {row["seed"]} | {row["evaluated"]} | {split} | '
            f'{" | ".join(cells)} |')  # fmt: skip
  unit = 'IC' if rows[0]['ceiling']['valid'] is None else 'share of the ceiling'
  for split in ('train', 'valid'):
    shares = np.array(
      [np.array(row[split]) / (row['ceiling'][split] or 1.0) for row in rows]
    )
    if len(rows) > 1:
      ours, control = shares.T
      print(f'{split}, {unit}: AlphaCFG {interval(ours)}, random '
            f'{interval(control)}, difference {interval(ours - control)}'
            )  # fmt: skip


def main(argv):
  del argv
  out = Path(_OUT.value)
  for variant in _VARIANTS.value:
    rows = [
      pair(out, variant, variant, seed, 0.05) for seed in range(_SEEDS.value)
    ]
    table(f'{variant}, planted alphas', rows)
    noise = [
      pair(out, f'{variant}_noise', variant, seed, 0.0)
      for seed in range(_NOISE.value)
    ]
    if noise:
      table(f'{variant}, pure noise', noise)
    for row in noise:
      name = f'{variant}_noise_{row["seed"]}'
      for workdir in (out / name, out / f'{name}_random'):
        print(f'  {workdir.name}: {figures_of(workdir)}')
    (out / f'{variant}.json').write_text(
      json.dumps({'planted': rows, 'noise': noise}, indent=1)
    )


if __name__ == '__main__':
  app.run(main)
