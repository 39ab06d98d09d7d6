"""All that a page shows of one signal: its tear sheet and its backtest.

  sheet     `sheet.tear_sheet`, its daily series left out
  backtest  of the days from the first scored one to the last with a signal:
            `spec` (the rules that were followed), `figures` (`value`, `low`,
            `high` by name), `drawdown` (`performance.Drawdown`), `capacity`,
            `days`, `years` (`period`, `portfolio`, `benchmark`, `excess`,
            `drawdown`, `turnover`, `days`), `frozen` (of what is held without
            a price: share of the money at the `end`, in so many `stocks`, the
            `most` of any day and which `day`), `fitted` (a sentence where the
            rules are not those asked for), `notes`, `deflated` (the Sharpe
            ratio of a year over the benchmark as the best of so many, see
            `selection.DeflatedSharpe`; None of returns that do not vary); or
            `missing`, a sentence on why there is none

The daily series stand apart: those of the sheet, a place for each scored day,
and `backtest_dates`, `backtest_nav`, `backtest_benchmark` (both begin as 1),
`backtest_drawdown`, `backtest_turnover`, a place for each day of the backtest.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.data.panel import LabelSpec, Panel, Split
from alphajax.judge import (
  performance,
  quotes,
  rules,
  selection,
  sheet,
  trading,
)
from alphajax.judge.rules import PAPER, BacktestSpec
from alphajax.judge.signals import Signal
from alphajax.judge.trading import BacktestResult

SHARE = 5  # One of so many members is held where there are not top_k to choose.
Series = dict[str, np.ndarray]


def judgement(
  signal: Signal,
  split: Split,
  label: LabelSpec,
  spec: BacktestSpec = PAPER,
  *,
  judged: int = 1,
) -> tuple[dict[str, Any], Series]:
  """What a signal is worth on a split, see above: plain figures and arrays.

  Args:
    signal: f32[T, S] on the split's panel.
    split: the days; those scored count.
    label: that of the split.
    spec: rules of the backtest; with fewer members than `top_k` see `fitted`.
    judged: of how many signals this is one, see `sheet.tear_sheet` and
      `selection.deflated_sharpe`.

  Raises:
    ValueError: as `sheet.tear_sheet`; a rule that none can follow.
  """
  found = sheet.tear_sheet(signal, split, label, judged=judged)
  daily = found.pop('daily')
  days = _traded_days(np.asarray(signal), split)
  panel = panel_lib.select_days(split.panel, days)
  spec, notes = fitted(spec, panel)
  rules.check(spec, panel)
  try:
    result = trading.backtest(np.asarray(signal)[days], panel, spec)
    traded, series = _of_backtest(result, panel, spec, notes)
    traded['deflated'] = deflated(result, judged)
  except ValueError as error:
    # The panel has no such price, nothing was traded, or the account is ruined.
    traded, series = {'missing': str(error)}, {}
  arrays = {
    name: np.array(values, None if name == 'dates' else np.float64)
    for name, values in daily.items()
  }
  return {'sheet': found, 'backtest': sheet.plain(traded)}, arrays | series


def check_rules(
  spec: BacktestSpec, panel: Panel, given: Collection[str] = ()
) -> None:
  """Refuses rules that a backtest of this panel cannot follow.

  given: names of rules that were asked for; `top_k` among them is not `fitted`.

  Raises:
    ValueError: see `rules.check`; a benchmark that is no index.
  """
  wanted = spec if 'top_k' in given else fitted(spec, panel)[0]
  rules.check(wanted, panel)
  if isinstance(spec.benchmark, str):
    quotes.index_return(panel, spec.benchmark)


def _traded_days(signal: np.ndarray, split: Split) -> slice:
  """From the first scored day on; labels are not known of the last ones."""
  first = int(np.argmax(np.asarray(split.scored)))
  said = np.isfinite(signal) & np.asarray(split.panel.mask)
  heard = np.flatnonzero(said.any(1))
  last = int(heard[-1]) if heard.size else len(said) - 1
  return slice(first, max(last, first) + 1)


def fitted(spec: BacktestSpec, panel: Panel) -> tuple[BacktestSpec, list[str]]:
  """The rules as a small universe can follow them, and a sentence on that.

  A portfolio of all members is the benchmark: where the median day has not more
  than `top_k`, a fifth of its members is held, and exchanged in proportion.
  """
  members = np.asarray(panel.mask).sum(1)
  usual = int(np.median(members[members > 0])) if members.any() else 0
  if spec.portfolio != 'top_k' or usual > spec.top_k or not usual:
    return spec, []
  top_k = max(usual // SHARE, 1)
  few = max(round(spec.drop_n * top_k / spec.top_k), 1)
  drop_n = min(few, spec.drop_n, top_k)
  note = (
    f'the universe has {usual} members on the median day and not more than '
    f'top_k={spec.top_k}: {top_k} were held, {drop_n} exchanged a day'
  )
  return spec._replace(top_k=top_k, drop_n=drop_n), [note]


def _of_backtest(
  result: BacktestResult, panel: Panel, spec: BacktestSpec, notes: list[str]
) -> tuple[dict[str, Any], Series]:
  """Figures and series of a backtest."""
  figures = performance.summary(result)
  capacity = None
  if 'volume' in panel.feature_names:
    capacity = performance.capacity(result, panel)._asdict()
  falls = performance.drawdown_series(result.returns)
  found = {
    'spec': plain_rules(spec),
    'days': figures.pop('days'),
    'drawdown': figures.pop('max_drawdown')._asdict(),
    'figures': {name: each._asdict() for name, each in figures.items()},
    'capacity': capacity,
    'years': years(result),
    'frozen': frozen(result),
    'fitted': notes[0] if notes else None,
    'notes': [*notes, *result.notes],
  }
  return found, {
    'backtest_dates': np.array(result.dates),
    'backtest_nav': result.nav,
    'backtest_benchmark': np.cumprod(1.0 + result.benchmark),
    'backtest_drawdown': falls,
    'backtest_turnover': result.turnover,
  }


def plain_rules(spec: BacktestSpec) -> dict[str, Any]:
  """The rules as JSON holds them; returns of a benchmark are left out."""
  fields = spec._asdict()
  if not isinstance(spec.benchmark, str | None):
    fields['benchmark'] = 'returns that were given'
  return fields


def frozen(result: BacktestResult) -> dict[str, Any]:
  """How much was held that had no price: at the end, and at most."""
  day = int(np.argmax(result.frozen))
  return {
    'end': float(result.frozen[-1]),
    'stocks': int(result.frozen_stocks[-1]),
    'most': float(result.frozen[day]),
    'day': result.dates[day],
  }


def deflated(result: BacktestResult, judged: int) -> dict[str, Any] | None:
  """The Sharpe ratio over the benchmark, as the best of `judged` portfolios.

  `judged`, and `selection.DeflatedSharpe` with ratios of a year; None where
  there are too few days or they do not vary.
  """
  excess = result.returns - result.benchmark
  excess = excess[performance.first_trade(result) :]
  if excess.size < 3 or np.ptp(excess) == 0:
    return None
  found = selection.deflated_sharpe(excess, judged)
  year = np.sqrt(rules.YEAR)
  return {
    'judged': judged,
    'sharpe': found.sharpe * year,
    'threshold': found.threshold * year,
    'probability': found.probability,
  }


def years(result: BacktestResult) -> list[dict[str, Any]]:
  """Return of each calendar year, and the deepest fall within it.

  From the first trade on: before it there is no portfolio to compare.
  """
  year = np.asarray(result.dates, 'datetime64[D]').astype('datetime64[Y]')
  held = np.arange(len(year)) >= performance.first_trade(result)
  rows: list[dict[str, Any]] = []
  for each in np.unique(year[held]):
    days = held & (year == each)
    own, other = (
      float(np.prod(1.0 + x[days]) - 1.0)
      for x in (result.returns, result.benchmark)
    )
    rows.append({
      'period': str(each),
      'portfolio': own,
      'benchmark': other,
      'excess': own - other,
      'drawdown': _deepest(result.returns[days]),
      'turnover': float(result.turnover[days].mean()),
      'days': int(days.sum()),
    })  # fmt: skip
  return rows


def _deepest(returns: Sequence[float] | np.ndarray) -> float:
  return float(performance.drawdown_series(np.asarray(returns)).min())
