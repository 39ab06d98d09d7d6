r"""Table 3: published factors before and after refinement.

python scripts/table3_refinement.py --out=runs/table3 \
  --csi300=../shared/data/cn_csi300.parquet \
  --sp500=../shared/data/us_sp500.parquet

Refines the six originals of the paper, those of GTJA191 on the CSI 300 and
those of Alpha101 on the S&P 500 as there, and writes a row per formula to
`table3.csv`. Resumable: a formula that has its result is not refined again.

Any other formulas: `--formulas=FILE --market=csi300`, FILE being CSV with the
columns `name`, `formula` and optionally `mask`. `--simulated` takes the
embedded market in place of the data. `--set=KEY=VALUE`, repeated, changes the
config, as `--set=method=random_search` does; the settings with which the search
learns are set before.
"""

from pathlib import Path
from typing import NamedTuple

import pandas as pd
from absl import app, flags

from alphajax import cli, markets, refine, train


class Row(NamedTuple):
  """A formula to refine; an empty mask is the right half."""

  name: str
  market: str
  formula: str
  mask: str = ''


# The second one's improved form in the paper divides where it subtracted: the
# operator of its root was open too. All others keep exactly their left half.
TABLE_3 = (
  Row('gtja191_overnight', 'csi300', 'open/Ref(close,1)-1'),
  Row('gtja191_mean', 'csi300', 'Mean(close,6)-close', '_(Mean(_,_),_)'),
  Row('gtja191_change', 'csi300', 'close-Ref(close,5)'),
  Row('alpha101_corr', 'sp500', '-Corr(open,volume,10)'),
  Row('alpha101_rank', 'sp500', '-Rank(CSRank(low),9)'),
  Row('alpha101_vwap', 'sp500', 'Pow(high*low,0.5)-vwap'),
)
OPTIONS = (
  'num_iterations=20',
  'num_trajectories=64',
  'search.num_simulations=32',
  'value.scale=10.0',
  'search.dirichlet_fraction=0.25',
  'training.learning_rate=1e-3',
)


def read_rows(path: str, market: str) -> list[Row]:
  """Rows of a CSV file with columns name, formula and, if it likes, mask.

  Raises:
    ValueError: a column is missing, or a name is there twice.
  """
  table = pd.read_csv(path, dtype=str, keep_default_na=False)
  missing = {'name', 'formula'} - set(table)
  if missing:
    raise ValueError(f'{path}: no column {", ".join(sorted(missing))}')
  masks = table.get('mask', [''] * len(table))
  rows = [
    Row(name, market, formula, mask)
    for name, formula, mask in zip(
      table['name'], table['formula'], masks, strict=True
    )
  ]
  names = [row.name for row in rows]
  twice = sorted({name for name in names if names.count(name) > 1})
  if twice:
    raise ValueError(f'{path}: the name {twice[0]} is there twice')
  return rows


def cells(row: Row, result: dict) -> dict:
  """A line of the table."""
  line = {
    'name': row.name,
    'market': row.market,
    'original': result['original']['formula'],
    'improved': result['improved']['formula'],
    'mask': result['mask'],
    'method': result['method'],
    'objective': result['objective'],
    'evaluated': result['evaluated'],
  }
  for split in ('train', 'valid'):
    for key in ('ic', 'rank_ic'):
      for which in ('original', 'improved'):
        mean = result[which][split][key]['mean']
        line[f'{split}_{key}_{which}'] = f'{mean:.5f}'
      for bound, value in result['difference'][split][key].items():
        line[f'{split}_{key}_difference_{bound}'] = f'{value:.5f}'
  return line


def config_of(row: Row, given):
  """The config of a row; `given` are the flags."""
  market, settings = row.market, [*OPTIONS]
  if given.simulated:
    market = 'simulated'
  else:
    path = {'csi300': given.csi300, 'sp500': given.sp500}[market]
    if not path:
      raise ValueError(
        f'{row.name} needs the data of {market}: give --{market}=PATH'
      )
    settings.append(f'data.path={path}')
  config = cli.read_config(f'{given.config}:{market}', settings + given.set)
  config.refine.formula, config.refine.mask = row.formula, row.mask
  return config


def main(argv):
  del argv
  train.prepare()
  given = flags.FLAGS
  out, rows = Path(given.out), TABLE_3
  if given.formulas:
    rows = read_rows(given.formulas, given.market)
  configs = [config_of(row, given) for row in rows]  # Before any work.
  load_market = markets.sharing_market()
  table = []
  for row, config in zip(rows, configs, strict=True):
    line = cells(row, refine.refine(config, out / row.name, load_market))
    print(
      f'{row.name}: {line["original"]} -> {line["improved"]}\n  IC train '
      f'{line["train_ic_original"]} -> {line["train_ic_improved"]}, valid '
      f'{line["valid_ic_original"]} -> {line["valid_ic_improved"]}',
      flush=True,
    )
    table.append(line)
    pd.DataFrame(table).to_csv(out / 'table3.csv', index=False)


if __name__ == '__main__':
  flags.DEFINE_string('out', 'runs/table3', 'Folder of runs and table.')
  flags.DEFINE_string('csi300', None, 'Data of the CSI 300.')
  flags.DEFINE_string('sp500', None, 'Data of the S&P 500.')
  flags.DEFINE_bool('simulated', False, 'The embedded market for all.')
  flags.DEFINE_string('formulas', None, 'CSV of other formulas.')
  flags.DEFINE_enum(
    'market', 'csi300', ['csi300', 'sp500'], 'Market of --formulas.'
  )
  flags.DEFINE_multi_string('set', [], 'KEY=VALUE of all configs.')
  flags.DEFINE_string(
    'config', 'configs/alphacfg.py', 'Config with a variant per market.'
  )
  app.run(main)
