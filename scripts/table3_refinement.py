r"""Table 3: published factors before and after refinement.

python scripts/table3_refinement.py --out=runs/table3 \
  --csi300=../shared/data/cn_csi300.parquet \
  --sp500=../shared/data/us_sp500.parquet

Refines the six originals of the paper, those of GTJA191 on the CSI 300 and
those of Alpha101 on the S&P 500 as there, and writes a row per formula to
`table3.csv`. Resumable: a formula that has its result is not refined again.

Any other formulas: `--formulas=FILE --market=csi300`, FILE being CSV with the
columns `name`, `formula` and optionally `mask`. `--simulated` takes the
embedded market in place of the data. What follows `--` goes to
alphajax.refine, for example `-- --config.method=random_search`; the settings
with which the search learns (scripts/search_learns.py) are set before it.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from absl import app, flags


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
  '--config.num_iterations=20',
  '--config.num_trajectories=64',
  '--config.search.num_simulations=32',
  '--config.value.scale=10.0',
  '--config.search.dirichlet_fraction=0.25',
  '--config.training.learning_rate=1e-3',
)


def read_rows(path: str, market: str) -> list[Row]:
  """Rows of a CSV file with columns name, formula and, if it likes, mask.

  Raises:
    ValueError: a column is missing, or a name is there twice.
  """
  with open(path, encoding='utf-8', newline='') as file:
    reader = csv.DictReader(file)
    missing = {'name', 'formula'} - set(reader.fieldnames or ())
    if missing:
      raise ValueError(f'{path}: no column {", ".join(sorted(missing))}')
    rows = [
      Row(line['name'], market, line['formula'], line.get('mask') or '')
      for line in reader
    ]
  names = [row.name for row in rows]
  twice = sorted({name for name in names if names.count(name) > 1})
  if twice:
    raise ValueError(f'{path}: the name {twice[0]} is there twice')
  return rows


def refine(row: Row, workdir: Path, config: str, options) -> dict:
  """The result of a row; run in a process of its own unless it is there."""
  workdir.parent.mkdir(parents=True, exist_ok=True)
  command = [
    sys.executable, '-m', 'alphajax.refine', f'--formula={row.formula}',
    f'--mask={row.mask}', f'--config={config}', f'--workdir={workdir}',
    *options,
  ]  # fmt: skip
  log = Path(f'{workdir}.log')
  with log.open('w', encoding='utf-8') as file:
    done = subprocess.run(command, check=False, stdout=file, stderr=file)
  if done.returncode:
    last = log.read_text(encoding='utf-8').strip().splitlines()[-1:]
    raise RuntimeError(f'{row.name} failed: {"".join(last)} (all of it: {log})')
  return json.loads((workdir / 'refine.json').read_text(encoding='utf-8'))


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


def data_options(row: Row, given) -> tuple[str, list[str]]:
  """(config, options) of a row's market; `given` are the flags."""
  if given.simulated:
    return f'{given.config}:simulated', []
  path = {'csi300': given.csi300, 'sp500': given.sp500}[row.market]
  if not path:
    raise ValueError(f'{row.name} needs the data of {row.market}: '
                     f'give --{row.market}=PATH')  # fmt: skip
  return f'{given.config}:{row.market}', [f'--config.data.path={path}']


def main(argv):
  given = flags.FLAGS
  out, rows = Path(given.out), TABLE_3
  if given.formulas:
    rows = read_rows(given.formulas, given.market)
  places = [data_options(row, given) for row in rows]  # Before any work.
  table = []
  for row, (config, data) in zip(rows, places, strict=True):
    result = refine(row, out / row.name, config, [*OPTIONS, *data, *argv[1:]])
    table.append(cells(row, result))
    line = table[-1]
    print(
      f'{row.name}: {line["original"]} -> {line["improved"]}\n  IC train '
      f'{line["train_ic_original"]} -> {line["train_ic_improved"]}, valid '
      f'{line["valid_ic_original"]} -> {line["valid_ic_improved"]}',
      flush=True,
    )
    with (out / 'table3.csv').open('w', encoding='utf-8', newline='') as file:
      writer = csv.DictWriter(file, list(table[0]))
      writer.writeheader()
      writer.writerows(table)


if __name__ == '__main__':
  flags.DEFINE_string('out', 'runs/table3', 'Folder of runs and table.')
  flags.DEFINE_string('csi300', None, 'Data of the CSI 300.')
  flags.DEFINE_string('sp500', None, 'Data of the S&P 500.')
  flags.DEFINE_bool('simulated', False, 'The embedded market for all.')
  flags.DEFINE_string('formulas', None, 'CSV of other formulas.')
  flags.DEFINE_enum(
    'market', 'csi300', ['csi300', 'sp500'], 'Market of --formulas.'
  )
  flags.DEFINE_string(
    'config', 'configs/alphacfg.py', 'Config with a variant per market.'
  )
  app.run(main)
