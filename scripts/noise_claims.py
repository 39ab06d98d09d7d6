r"""How often nothing is taken for something, on markets in which nothing is.

python scripts/noise_claims.py --workdir=runs/noise_claims [--markets=100]

Each seed is a small market of pure noise, dependent in time and across stocks
as real ones are. On each a year is walked forward by random search, whose
interval should hold 0 in 95 of 100; and as many formulas are assessed as
`--formulas` says, of which hardly any may be claimed. Goes on where it stopped.
"""

from pathlib import Path

import jax
import pandas as pd
from absl import app, flags, logging
from scipy import stats

from alphajax import assess, cli, folds, walk_forward
from alphajax.language import environment, formula_files
from alphajax.language import formula as formula_lib
from alphajax.language.formula_files import Source
from alphajax.run import cache, files

DAYS, STOCKS = 1310, 40  # Five years.
# Walked: more years would be panels of other shapes, and compiled anew.
YEARS = folds.Options(years=(2014, 2014))
SETTINGS = (
  f'data.simulate.num_days={DAYS}', f'data.simulate.num_stocks={STOCKS}',
  'num_trajectories=20', 'max_evaluated=60', 'num_iterations=6',
  'early_stop=0.0', 'pool.capacity=5',
)  # fmt: skip
DRAWN = 400  # Formulas at a time.


def run(workdir: Path, markets: int, formulas: int) -> pd.DataFrame:
  """A row for each market, those that the folder has not; kept as they come."""
  kept = workdir / 'markets.csv'
  rows = pd.read_csv(kept).to_dict('records') if kept.exists() else []
  if rows and rows[0]['formulas'] != formulas:
    raise app.UsageError(
      f'{kept} is of --formulas={rows[0]["formulas"]}: give that, or another '
      '--workdir'
    )
  for seed in range(len(rows), markets):
    place = workdir / f'seed_{seed}'
    rows.append(
      {'seed': seed, **walked(seed, place), **judged(seed, place, formulas)}
    )
    files.write_text(kept, pd.DataFrame(rows).to_csv(index=False))
    print(rows[-1], flush=True)
  return pd.DataFrame(rows)


def config_of(seed: int):
  """Random search on the noise of a seed."""
  seeds = f'seed={seed}', f'data.simulate.seed={seed}'
  return cli.read_config('random.py:simulated_noise', [*SETTINGS, *seeds])


def walked(seed: int, place: Path) -> dict[str, float]:
  """The interval of the IC of the walked year."""
  config = config_of(seed)
  planned = walk_forward.plan(config, place, YEARS)
  summary = walk_forward.walk(planned, place)
  ic = summary['all']['ic']
  return {f'walk_{name}': ic[name] for name in ('low', 'high')}


def judged(seed: int, place: Path, count: int) -> dict[str, int]:
  """Claims among random formulas, and those that each would have alone."""
  ledger = place / 'assessed.ledger'  # Of these formulas alone.
  ledger.unlink(missing_ok=True)
  config = config_of(seed)
  language = environment.make(**config.language)
  drawn: dict[str, str] = {}
  number = 0
  while len(drawn) < count:
    key = jax.random.fold_in(jax.random.key(seed), number)
    for formula in environment.random_formulas(language, key, DRAWN):
      drawn[formula_lib.key(formula)] = formula_lib.to_text(formula)
    number += 1
  sources = [Source('', text) for text in list(drawn.values())[:count]]
  given = formula_files.parse(sources, tuple(config.language.features))
  found = assess.assess(config, given, ledger_path=str(ledger))
  counts = {name: found[name] for name in ('claims', 'below_alone')}
  return {'formulas': count, **counts}


def table(rows: pd.DataFrame) -> str:
  """Counts with their intervals: of all markets, and of all formulas."""
  holds = int(((rows.walk_low <= 0) & (rows.walk_high >= 0)).sum())
  some, count = int((rows.claims > 0).sum()), len(rows)
  low, high = stats.binomtest(holds, count).proportion_ci()
  lines = [
    f'a year walked: {holds} of {count} intervals hold 0 '
    f'[{low:.2f}, {high:.2f}]'
  ]
  low, high = stats.binomtest(some, count).proportion_ci()
  total = int(rows.formulas.sum())
  lines.append(
    f'assessed: {rows.claims.sum()} of {total:,} formulas claimed, any on '
    f'{some} of {count} markets [{low:.2f}, {high:.2f}]; alone '
    f'{rows.below_alone.sum() / total:.1%} would be'
  )
  return '\n'.join(lines)


FLAGS = flags.FLAGS


def main(argv):
  del argv
  cache.use_disk_cache()
  logging.set_verbosity(logging.WARNING)
  print(table(run(Path(FLAGS.workdir), FLAGS.markets, FLAGS.formulas)))


if __name__ == '__main__':
  flags.DEFINE_string('workdir', None, 'Folder of the markets.', required=True)
  flags.DEFINE_integer('markets', 100, 'Markets, a seed each.')
  flags.DEFINE_integer('formulas', 1000, 'Formulas assessed on each.')
  app.run(main)
