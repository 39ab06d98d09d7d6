"""What the best of many is worth, once one knows that it was the best of many.

The same choice among formulas that were drawn at random (`best_of`), and the
Sharpe ratio that the best of as many portfolios without skill would show.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import special

from alphajax.data.device import by_days, put
from alphajax.data.panel import PAPER_LABEL, LabelSpec, Split
from alphajax.factor import evaluate, metrics
from alphajax.judge import figures, series, sheet
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula

MAX_DRAWS = 50  # Of as many formulas each: small languages run out of new ones.


class BestOf(NamedTuple):
  """The formula that was best on one split, on another.

  formula: its text.
  sign: -1 where it was best reversed.
  selected: its mean IC on the split that it was chosen on, sign included.
  figures, daily: as `figures.of_signal` of sign times its values.
  """

  formula: str
  sign: int
  selected: float
  figures: dict[str, Any]
  daily: figures.Series


def draw(
  language: environment.Language, count: int, seed: int = 0
) -> list[Formula]:
  """Distinct formulas, drawn as random search draws them.

  Raises:
    ValueError: fewer than one, or more than the language is seen to have.
  """
  if count < 1:
    raise ValueError(f'{count} random formulas: expected 1 or more')
  rng_key, found = jax.random.key(seed), {}
  for number in range(MAX_DRAWS):
    key = jax.random.fold_in(rng_key, number)
    for formula in environment.random_formulas(language, key, count):
      found.setdefault(formula_lib.key(formula), formula)
      if len(found) == count:
        return list(found.values())
  raise ValueError(
    f'only {len(found)} distinct formulas among {MAX_DRAWS * count} drawn, and '
    f'{count} were asked for: take fewer or a larger language'
  )


def best_of(
  formulas: Sequence[Formula],
  select: Split,
  judged: Split,
  label: LabelSpec = PAPER_LABEL,
) -> BestOf:
  """Chooses by the largest |mean IC| on one split and judges on another.

  With as many formulas of `draw` as a method evaluated it is the control of
  that method: what looking at so many finds without any skill.

  Args:
    formulas: any.
    select: the split that is chosen on.
    judged: the split that the choice is judged on; it decides nothing.
    label: of both splits.
  """
  ics = mean_ics(formulas, select)
  best = int(np.argmax(np.abs(ics)))
  sign = -1 if ics[best] < 0 else 1
  (values,) = evaluate.values([formulas[best]], judged.panel)
  found, daily = figures.of_signal(sign * values, judged, label)
  text = formula_lib.to_text(formulas[best])
  return BestOf(text, sign, float(sign * ics[best]), found, daily)


def control(
  formulas: Sequence[Formula],
  select: Split,
  judged: Split,
  label: LabelSpec,
  ic: np.ndarray,
) -> dict[str, Any]:
  """A result beside the best of random formulas, in figures that JSON holds.

  Args:
    formulas, select, judged, label: as of `best_of`.
    ic: daily IC f32[D] of the result on the scored days of `judged`.

  Returns:
    `count`, `formula`, `sign`, `selected` and of the days judged `ic` and
    `rank_ic` of the control; `less`, the mean daily IC of the result less that
    of the control, paired: mean, low, high, p_value, days.
  """
  found = best_of(formulas, select, judged, label)
  less = np.asarray(ic, np.float64) - found.daily['ic']
  return sheet.plain({
    'count': len(formulas),
    **{name: getattr(found, name) for name in ('formula', 'sign', 'selected')},
    **{name: found.figures[name] for name in ('ic', 'rank_ic')},
    'less': series.mean(less, series.overlap(label))._asdict(),
  })  # fmt: skip


def mean_ics(formulas: Sequence[Formula], split: Split) -> np.ndarray:
  """Mean IC of each formula over the scored days, f32[N]."""
  target = put(by_days(metrics.make_target, split.target, split.panel.mask))
  store = evaluate.make_store(split.panel)
  return store.map(formulas, _mean_ic, target, put(split.scored))


def _mean_ic(values, target, scored):
  return metrics.series_mean(metrics.target_ic(values, target), scored)


class DeflatedSharpe(NamedTuple):
  """A Sharpe ratio beside that of the best of many portfolios without skill.

  sharpe: of a day.
  threshold: what the best of so many is expected to show, of a day.
  probability: that the true one is above the threshold.
  """

  sharpe: float
  threshold: float
  probability: float


def deflated_sharpe(
  returns: np.ndarray, trials: int, variance: float | None = None
) -> DeflatedSharpe:
  """The deflated Sharpe ratio of Bailey and Lopez de Prado (2014).

  Args:
    returns: `[T]`, of a portfolio, excess over what it is compared with, a day
      each; they do not overlap.
    trials: how many portfolios this one was chosen from, all counted.
    variance: of the trials' daily Sharpe ratios; None: 1 / (T - 1), that of
      portfolios without skill.

  Raises:
    ValueError: fewer than 3 days, one that is not finite, returns that do not
      vary, fewer than one trial, or a variance below 0.
  """
  from scipy import stats

  returns = np.asarray(returns, np.float64)
  if returns.ndim != 1 or returns.size < 3 or not np.isfinite(returns).all():
    raise ValueError(
      f'expected 3 or more finite daily returns, not shape {returns.shape} '
      f'with {np.sum(~np.isfinite(returns))} that are not finite'
    )
  spread = float(returns.std(ddof=1))
  if spread <= metrics.CONSTANT_SERIES * abs(returns.mean()):
    raise ValueError('the returns are the same every day: no Sharpe ratio')
  sharpe, days = float(returns.mean()) / spread, returns.size
  variance = 1 / (days - 1) if variance is None else variance
  threshold = best_sharpe(trials, variance)
  skew, kurtosis = stats.skew(returns), stats.kurtosis(returns, fisher=False)
  probability = sharpe_probability(sharpe, threshold, days, skew, kurtosis)
  return DeflatedSharpe(sharpe, threshold, probability)


def best_sharpe(trials: int, variance: float) -> float:
  """Expected largest Sharpe ratio among trials of mean 0 and that variance.

  Their equation 1; 0 for a single trial.
  """
  if trials < 1 or variance < 0:
    raise ValueError(
      f'trials={trials} with variance={variance}: expected 1 or more, and a '
      'variance of 0 or more'
    )
  if trials == 1:
    return 0.0
  quantiles = special.ndtri([1 - 1 / trials, 1 - 1 / (trials * np.e)])
  weights = [1 - np.euler_gamma, np.euler_gamma]
  return float(np.sqrt(variance) * np.dot(weights, quantiles))


def sharpe_probability(
  sharpe: float, threshold: float, days: int, skew: float, kurtosis: float
) -> float:
  """Probability that a true Sharpe ratio is above a threshold.

  The probabilistic Sharpe ratio, their equation 2; all of a day.

  Args:
    sharpe: the estimate, of `days` returns.
    threshold: to be above.
    days: how many returns.
    skew, kurtosis: of the returns; the kurtosis of a normal is 3.
  """
  spread = 1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2
  z = (sharpe - threshold) * np.sqrt(days - 1) / np.sqrt(spread)
  return float(special.ndtr(z))
