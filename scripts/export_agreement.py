r"""Do exported formulas and streams have our values? On real panels.

python scripts/export_agreement.py --data=../shared/data --out=runs/agreement

Every formula of the shipped libraries, on 300 days of 60 stocks of each panel,
exported to NumPy, pandas and polars, and pushed day by day through a `Stream`;
to qlib where it is installed, those that it has the operators for.
Industries, which the files do not have, are made up of the symbols, and so is
the market value. Written are `agreement.csv`, formula by formula, and the
table of `scripts/README.md`. About 10 minutes on two cores; started again it
goes on.
"""

from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pandas as pd
from absl import app, flags

from alphajax.analysis.exporting import agreement, qlib, running
from alphajax.data import market
from alphajax.data import panel as panel_lib
from alphajax.data.features import EXTRA_FEATURES
from alphajax.factor.stream import Stream
from alphajax.language import library
from alphajax.run import files

PANELS = {'CSI 300': 'cn_csi300.parquet', 'S&P 500': 'us_sp500.parquet'}
TARGETS = ('python', 'pandas', 'polars')


def load(path, num_days, num_stocks):
  """The last days of validation, of the stocks with the most memberships."""
  panel = market.load(path, start='2018-01-01', end='2019-12-31')
  panel = panel_lib.select_days(panel, slice(-num_days, None))
  most = np.argsort(-np.asarray(panel.mask).sum(0), kind='stable')
  # Every third: those that are members on some days alone are among them.
  kept = np.sort(most[: 3 * num_stocks : 3])
  panel = panel_lib.take_symbols(panel, [panel.symbols[i] for i in kept])
  codes = np.arange(num_stocks)
  groups = [np.tile(codes % n, (num_days, 1)) for n in (3, 7, 12)]
  close = panel.features[panel.feature_names.index('close')]
  more = [*groups, close * (1e7 * (1 + codes))]
  return panel.replace(
    features=np.concatenate([panel.features, np.float32(more)]),
    feature_names=(*panel.feature_names, *EXTRA_FEATURES),
  )


def streamed(formulas, panel):
  """The values of formulas by a stream, all days pushed; f32[T, S] by name."""
  nothing = panel_lib.select_days(panel, slice(0, 0))
  stream = Stream.start(list(formulas.values()), nothing)
  rows = []
  for t in range(len(panel.dates)):
    planes = zip(panel.feature_names, panel.features[:, t], strict=True)
    stream, row = stream.push(dict(planes) | {'members': panel.mask[t]})
    rows.append(jax.device_get(row.values))
  return dict(zip(formulas, np.stack(rows, 1), strict=True))


def shipped(name):
  """The formulas of a library by name."""
  return {
    f'{name}_{entry.id}': library.parse(entry)
    for entry in library.entries(name)
    if entry.kind != 'absent'
  }


def table(results):
  """Markdown; of those that differ, which operator parts the values, and how.

  Cells: the median share of those apart over the formulas that differ, and the
  least of their rank correlations.
  """
  lines = [
    '| panel | formulas | by | exact | within 1e-5 | differ | cells apart | '
    'rank correlation | rounding decides | rounding magnified | itself |',
    '| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- | --- |',
  ]
  for key, found in results.items():
    kinds = Counter(each.kind for each in found.values())
    apart = [each for each in found.values() if each.why]
    cells = least = ''
    if apart:
      cells = f'{np.median([each.cells for each in apart]):.2%}'
      least = f'{np.nanmin([each.alike for each in apart]):.4f}'
    said = [
      ', '.join(f'{symbol} {n}' for symbol, n in reasons.most_common())
      for reasons in (
        Counter(e.why.split()[0] for e in apart if e.why.split()[1] == verb)
        for verb in ('jumps', 'magnifies', 'itself,')
      )
    ]
    cells_of_row = [
      *key, kinds[agreement.EXACT], kinds[agreement.CLOSE], len(apart), cells,
      least, *said,
    ]  # fmt: skip
    lines.append(f'| {" | ".join(map(str, cells_of_row))} |')
  return '\n'.join(lines)


def read(path):
  """The results so far: (panel, library, by) -> name -> agreement."""
  results = {}
  if path.exists():
    rows = pd.read_csv(path, keep_default_na=False, na_values=['nan'])
    for *key, name, kind, cells, alike, why in rows.itertuples(index=False):
      found = results.setdefault(tuple(key), {})
      found[name] = agreement.Agreement(kind, cells, alike, why)
  return results


def write(path, results):
  rows = [
    (*key, name, *each)
    for key, found in results.items()
    for name, each in found.items()
  ]
  columns = ['panel', 'library', 'by', 'name', *agreement.Agreement._fields]
  frame = pd.DataFrame(rows, columns=columns)
  files.write_text(path, frame.to_csv(index=False, na_rep='nan'))


def main(argv):
  del argv
  options = flags.FLAGS
  out = Path(options.out).expanduser()
  out.mkdir(parents=True, exist_ok=True)
  targets = [*TARGETS, *filter(running.is_installed, ['qlib'])]
  runs = {by: agreement.run_target(by) for by in targets}
  runs['Stream'] = streamed
  results = read(out / 'agreement.csv')
  for panel_name, file in PANELS.items():
    keys = [(panel_name, n, by) for n in library.LIBRARIES for by in runs]
    missing = [key for key in keys if key not in results]
    if not missing:
      continue
    panel = load(
      Path(options.data) / file, options.num_days, options.num_stocks
    )
    for key in missing:
      formulas = shipped(key[1])
      if key[2] == 'qlib':
        formulas = qlib.writable(formulas)
      results[key] = agreement.check(formulas, panel, runs[key[2]])
      print(*key, agreement.summary(results[key].values()), flush=True)
      write(out / 'agreement.csv', results)
  text = table(results)
  (out / 'table.md').write_text(text + '\n', encoding='utf-8')
  print(text)


if __name__ == '__main__':
  flags.DEFINE_string('data', '../shared/data', 'Folder of the two markets.')
  flags.DEFINE_string('out', 'runs/agreement', 'Folder for what is written.')
  flags.DEFINE_integer('num_days', 300, 'Days, 252 or more.')
  flags.DEFINE_integer('num_stocks', 60, 'Stocks.')
  app.run(main)
