r"""The stocks of a day by the result of a run, and what each factor adds.

python -m alphajax.score --workdir=runs/csi300
python -m alphajax.score --workdir=runs/csi300 --data=today.parquet \
  --date=2025-03-14 --top=30

The data are read as the config says, columns, units and universe, and may go
on for as long as they like after the run. `--date` is the last day by default;
only the bars that the factors look back on are loaded before it. Written is
`scores_DATE.csv`: rank, stock, signal, the contribution of every factor (its
weight times the factor, standardised over the members of the day; they add up
to the signal), and for stocks that are left out, why.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from absl import flags

from alphajax import cli, evaluate, markets
from alphajax.data import one_day
from alphajax.data import panel as panel_lib
from alphajax.data.panel import Panel
from alphajax.factor import attribution
from alphajax.factor import evaluate as evaluate_lib
from alphajax.language import formula as formula_lib
from alphajax.methods.base import Found
from alphajax.run import cache, files


class Scores(NamedTuple):
  """A day's members, N of them, the best first, those without a signal last.

  date: the day.
  symbols: of the members.
  signal: f32[N], NaN where there is none.
  factors: text of the P formulas; none of a result that is no pool.
  weights: of them.
  contributions: f32[N, P], NaN where the factor has no value.
  reasons: why a stock has no signal, or which factors say nothing of it; empty
    if all do.
  """

  date: str
  symbols: tuple[str, ...]
  signal: np.ndarray
  factors: tuple[str, ...]
  weights: tuple[float, ...]
  contributions: np.ndarray
  reasons: tuple[str, ...]


@jax.enable_x64(False)  # As the run was.
def score(
  workdir: Path,
  data: str | None = None,
  date: str | None = None,
  columns: str | None = None,
) -> Scores:
  """Ranks the members of a day.

  Args:
    workdir: of the run.
    data: where the data lie, if not where the config says.
    date: the day; None for the last of the data.
    columns: of `data`, as `config.data.columns`; None: as there.

  Raises:
    RunError: no run, or no result in it.
    ValueError: no such day, too few bars before it, or data without what the
      formulas read.
  """
  config, predict, found = evaluate.result_of(workdir, data)
  if columns is not None:
    config.data.columns = columns
  days = lookback(config, found)
  panel = load(config, data or config.data.path, date, days, found)
  signal = np.asarray(predict(panel))[-1]
  return _ranked(panel, signal, found, days)


def lookback(config, found: Found) -> int:
  """Bars before a day that its signal needs."""
  if found.formulas:
    return max(map(formula_lib.lookback, found.formulas))
  return markets.lookback(config)


def load(config, path: str, date: str | None, days: int, found: Found) -> Panel:
  """The day and the bars before it, as the config says data are read."""
  if not path:
    panel = markets.simulated(config).panel
    last = one_day.place(panel.dates, date, days, 'the simulated market')
    return panel_lib.select_days(panel, slice(last - days, last + 1))
  options = markets.load_options(config)
  return one_day.load(
    path, date, days, features=_extra(config, found), **options
  )


def _extra(config, found: Found) -> tuple[str, ...]:
  """Columns beside the usual ones that the result reads."""
  read = {
    node.symbol
    for formula in found.formulas
    for node in formula_lib.nodes(formula)
    if not node.args and not formula_lib.is_number(node)
  }
  if not found.formulas:
    read = set(config.get('language', {}).get('features', ()))
  return tuple(sorted(read - set(panel_lib.FEATURES)))


def _ranked(
  panel: Panel, signal: np.ndarray, found: Found, days: int
) -> Scores:
  """The last day of a panel in the order of its signal, f32[S]."""
  values, parts = _factors(panel, found)
  known = np.isfinite(values)
  members = np.flatnonzero(panel.mask[-1])
  silent = 2 * known[members].sum(0) < len(members)
  parts = np.where(known & ~silent, parts, np.nan)
  # Those without a signal last; equal ones by their symbols.
  order = members[
    np.lexsort((np.array(panel.symbols)[members], -signal[members]))
  ]
  texts = tuple(map(formula_lib.to_text, found.formulas))
  closes = panel.features[panel.feature_names.index('close')]
  bars = np.isfinite(closes).sum(0)
  reasons = [
    _reason(signal[s], known[s] & ~silent, bars[s], days + 1, texts)
    for s in order
  ]
  return Scores(
    date=panel.dates[-1],
    symbols=tuple(panel.symbols[s] for s in order),
    signal=signal[order],
    factors=texts,
    weights=tuple(found.weights),
    contributions=parts[order],
    reasons=tuple(reasons),
  )


def _factors(panel: Panel, found: Found) -> tuple[np.ndarray, np.ndarray]:
  """(values, contributions) of the factors on the last day, each f32[S, P]."""
  if not found.formulas:
    return (np.zeros((len(panel.symbols), 0), np.float32),) * 2
  taken = evaluate_lib.make_store(panel).take(list(found.formulas))
  values = jnp.stack([plane[-1:] for plane in taken])
  parts = attribution.contributions(
    jnp.asarray(found.weights, jnp.float32),
    values,
    jnp.asarray(panel.mask[-1:]),
  )
  return np.asarray(values)[:, 0].T, np.asarray(parts)[:, 0].T


def _reason(
  signal: float, heard: np.ndarray, bars: int, needed: int, texts: Sequence[str]
) -> str:
  """Why a stock has no signal, or what is missing of it."""
  history = f'{bars} of {needed} bars known' if bars < needed else ''
  if not np.isfinite(signal):
    none = 'no factor has a value' if texts else 'the model gives no value'
    return f'missing history: {history}' if history else none
  lacking = [text for text, h in zip(texts, heard, strict=True) if not h]
  if not lacking:
    return ''
  more = f'; {history}' if history else ''
  return f'no value of {", ".join(lacking)}{more}'


def frame(scores: Scores) -> pd.DataFrame:
  """The ranking as a table, a column for each factor."""
  has = np.isfinite(scores.signal)
  ranks = [str(i) if known else '' for i, known in enumerate(has, 1)]
  columns = {
    'rank': ranks,
    'symbol': scores.symbols,
    'signal': scores.signal,
    **dict(zip(scores.factors, scores.contributions.T, strict=True)),
    'reason': scores.reasons,
  }
  return pd.DataFrame(columns)


def text(scores: Scores, top: int) -> str:
  """The first of the ranking, what the factors are, and who is left out."""
  has = np.isfinite(scores.signal)
  lines = [f'{scores.date}: {has.sum()} of {has.size} members ranked']
  numbers = [f'f{i}' for i in range(1, len(scores.factors) + 1)]
  for number, weight, factor in zip(
    numbers, scores.weights, scores.factors, strict=True
  ):
    lines.append(f'  {number:4}{weight:+.4f}  {factor}')
  rows = [('', 'stock', 'signal', *numbers)]
  for i in range(min(top, int(has.sum()))):
    parts = (_plain(x) for x in scores.contributions[i])
    rows.append(
      (str(i + 1), scores.symbols[i], _plain(scores.signal[i]), *parts)
    )
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  for row in rows:
    cells = zip(row, widths, strict=True)
    lines.append('  '.join(cell.rjust(width) for cell, width in cells))
  for symbol, known, reason in zip(
    scores.symbols, has, scores.reasons, strict=True
  ):
    if not known:
      lines.append(f'{symbol} is left out: {reason}')
  return '\n'.join(lines)


def _plain(value: float) -> str:
  return f'{value:+.4f}' if np.isfinite(value) else '-'


def define_flags() -> None:
  """The flags of the command."""
  flags.DEFINE_string('workdir', None, 'Folder of the run.', required=True)
  flags.DEFINE_string('data', None, 'Where the data lie, if not as trained on.')
  cli.define_columns()
  flags.DEFINE_string('date', None, 'The day; by default the last one.')
  flags.DEFINE_string(
    'out', None, 'CSV; by default scores_DATE.csv in workdir.'
  )
  flags.DEFINE_integer('top', 20, 'Stocks that are printed.', lower_bound=1)


def main(argv: Sequence[str]) -> None:
  """The command."""
  cli.no_more(argv)
  cache.use_disk_cache()
  options = flags.FLAGS
  workdir = Path(options.workdir).expanduser()
  if options.out:
    files.check_file('--out', options.out)
  scores = score(workdir, options.data, options.date, options.columns)
  out = options.out or workdir / f'scores_{scores.date}.csv'
  files.write_text(out, frame(scores).to_csv(index=False))
  print(text(scores, options.top))
  print(f'Written to {out}')


if __name__ == '__main__':
  cli.run('alphajax.score')
