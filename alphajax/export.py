r"""Formulas as source of other libraries, run there and compared with ours.

python -m alphajax.export --workdir=runs/csi300 --to=pandas
python -m alphajax.export --file=pool.txt --to=polars --data=prices.parquet

`--to` is python (plain NumPy), pandas, polars, qlib or latex. The file stands
alone: it holds the definition of every operator that occurs, those of alphajax;
for qlib expressions of its own. What it computes where the library is installed
is compared with our own values, formula by formula, on the last days of
validation of the run (a refit has none: of those that it was fitted to), of
`--data`, or of a simulated market.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from alphajax import cli, evaluate, markets
from alphajax.analysis.exporting import agreement, latex, qlib, running, source
from alphajax.analysis.exporting.agreement import Agreement
from alphajax.data import market as market_lib
from alphajax.data import panel as panel_lib
from alphajax.data import simulate
from alphajax.data.features import EXTRA_FEATURES, FEATURES
from alphajax.data.panel import Panel
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula
from alphajax.methods import given
from alphajax.run import cache, files

TARGETS = (*source.MODULES, 'qlib', 'latex')


class Factors(NamedTuple):
  """What is exported: formulas by name, and their weights, maybe none."""

  formulas: dict[str, Formula]
  weights: dict[str, float] | None = None


def of_run(workdir: Path) -> Factors:
  """The factors of the pool of a run.

  Raises:
    RunError: no run, or no result.
    ValueError: its result is no pool of formulas.
  """
  config, _, found = evaluate.result_of(workdir)
  if not found.formulas:
    raise ValueError(
      f'{workdir}: the result of {config.method} is no pool of formulas, and '
      'formulas are what is exported'
    )
  names = [f'factor_{i}' for i in range(1, len(found.formulas) + 1)]
  return Factors(
    dict(zip(names, found.formulas, strict=True)),
    dict(zip(names, found.weights, strict=True)),
  )


def of_file(path: str, features: Sequence[str] = ()) -> Factors:
  """The formulas of a file: one a line, or a `pool.json`.

  features: columns that they read beside the usual ones.

  Raises:
    ValueError: no such file, or a line that is no formula; names it.
  """
  known = tuple(dict.fromkeys((*FEATURES, *EXTRA_FEATURES, *features)))
  formulas = {}
  for i, (where, text) in enumerate(given.lines(path, '--file'), 1):
    try:
      formulas[f'factor_{i}'] = formula_lib.parse(text, known)
    except ValueError as error:
      raise ValueError(f'{where}: {error}') from error
  if not formulas:
    raise ValueError(f'{path}: no formula in it; expected one a line')
  return Factors(formulas)


def write(factors: Factors, target: str) -> str:
  """The text of the file for a target."""
  if target == 'latex':
    return latex.write(*factors)
  if target == 'qlib':
    return qlib.write(factors.formulas)[0]
  return source.write(factors.formulas, target, factors.weights)


def check_panel(
  formulas: Mapping[str, Formula],
  workdir: Path | None,
  data: str | None,
  days: int,
  stocks: int,
  columns: str | None = None,
) -> Panel:
  """The days on which values are compared, after the longest look-back."""
  bars = max(map(formula_lib.lookback, formulas.values())) + days
  read = {
    node.symbol
    for formula in formulas.values()
    for node in formula_lib.nodes(formula)
    if not node.args and not formula_lib.is_number(node)
  }
  extra = tuple(sorted(read - set(FEATURES)))
  if workdir is not None or data is not None:
    panel = _real(workdir, data, extra, columns)
  elif extra:
    raise ValueError(
      f'the formulas read {", ".join(extra)}, which the simulated market has '
      'not: name data that have it with --data'
    )
  else:
    panel = simulate.simulate(
      num_days=max(bars, 2), num_stocks=max(stocks, 30), alphas=()
    ).panel
  panel = panel_lib.select_days(panel, slice(-bars, None))
  most = np.argsort(-np.asarray(panel.mask).sum(0), kind='stable')[:stocks]
  return panel_lib.take_symbols(panel, [panel.symbols[i] for i in sorted(most)])


def _real(
  workdir: Path | None,
  data: str | None,
  extra: tuple[str, ...],
  columns: str | None,
) -> Panel:
  """The last split that a run saw, or all days of data, read as the run was."""
  options: dict[str, Any] = {}
  if workdir is not None:
    config = evaluate.result_of(workdir)[0]
    if data is None:
      name = 'valid' if 'valid' in config.splits else 'train'
      return markets.load_split(config, name).panel
    options = markets.load_options(config)
  if columns is not None:
    options['columns'] = columns
  return market_lib.load(str(data), features=extra, **options)


@jax.enable_x64(False)  # As runs are.
def check(
  formulas: Mapping[str, Formula], target: str, panel: Panel
) -> dict[str, Agreement]:
  """How far exported values agree with ours, by name."""
  return agreement.check(formulas, panel, agreement.run_target(target))


def report(factors: Factors, target: str, panel: Panel | None) -> list[str]:
  """What is said of an export, a line each."""
  formulas, lines = factors.formulas, []
  if target == 'qlib':
    absent = qlib.write(formulas)[1]
    lines = [f'{name} is left out: {why}' for name, why in absent.items()]
    formulas = qlib.writable(formulas)
  if panel is None or not formulas:
    return lines
  found = check(formulas, target, panel)
  for name, each in found.items():
    line = f'{name}: {each.kind}'
    if each.why:
      line += (
        f' in {each.cells:.2%} of cells (rank correlation {each.alike:.4f}): '
        f'{each.why}'
      )
    lines.append(f'{line}  {formula_lib.to_text(formulas[name])}')
  return [
    *lines,
    f'{len(panel.dates)} days x {len(panel.symbols)} stocks, '
    f'{panel.dates[0]}..{panel.dates[-1]}: {agreement.summary(found.values())}',
  ]


def define_flags() -> None:
  """The flags of the command."""
  flags.DEFINE_string('workdir', None, 'Folder of the run.')
  flags.DEFINE_string('file', None, 'Formulas, one a line, or a pool.json.')
  flags.DEFINE_enum('to', 'python', TARGETS, f'Of {", ".join(TARGETS)}.')
  flags.DEFINE_string('out', None, 'File; by default factors_TO.py or .tex.')
  flags.DEFINE_string('data', None, 'Data that values are compared on.')
  cli.define_columns()
  flags.DEFINE_list('features', [], 'Further columns that --file reads.')
  flags.DEFINE_integer('days', 60, 'Days that are compared.', lower_bound=1)
  flags.DEFINE_integer('stocks', 60, 'Stocks compared.', lower_bound=2)


def main(argv: Sequence[str]) -> None:
  """The command."""
  cli.no_more(argv)
  cache.use_disk_cache()
  options = flags.FLAGS
  if (options.workdir is None) == (options.file is None):
    raise ValueError(
      'give --workdir of a run or --file of formulas, one of both'
    )
  if options.out:
    files.check_file('--out', options.out)
  workdir = None
  if options.workdir is not None:
    workdir = Path(options.workdir).expanduser()
    factors = of_run(workdir)
  else:
    factors = of_file(options.file, options.features)
  target = options.to
  ending = 'tex' if target == 'latex' else 'py'
  out = Path(options.out or (workdir or Path()) / f'factors_{target}.{ending}')
  files.write_text(out, write(factors, target))
  panel = None
  if target != 'latex' and running.is_installed(target):
    panel = check_panel(
      factors.formulas, workdir, options.data, options.days, options.stocks,
      options.columns,
    )  # fmt: skip
  elif target != 'latex':
    print(
      f'{target} is not installed, so nothing was run: pip install '
      f'{running.PACKAGES.get(target, target)}'
    )
  print('\n'.join([*report(factors, target, panel), f'Written to {out}']))


if __name__ == '__main__':
  cli.run('alphajax.export')
