"""What formulas see of a panel: how alike they are, and how their ICs vary.

For a synthetic market that formulas are mined in, this matters more than the
distribution of a return.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from alphajax.analysis import behaviour
from alphajax.data import panel as panel_lib
from alphajax.data.device import by_days, put
from alphajax.data.panel import LabelSpec, Panel
from alphajax.factor import evaluate, metrics
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula

LENGTH = 6  # Of the random formulas, at most.
APART = 0.97  # Largest |correlation| of two.
COVERAGE = 0.8  # Least share of member-days with a value.
FIGURES = (
  'gram', 'ic_deviation', 'ic_error', 'ic_size', 'ic_rank', 'ic_rank_valid',
)  # fmt: skip
STEP = 5  # Behaviours are compared on every STEPth day.
DRAWN = 12  # Formulas looked at for each one that is wanted.


def draw(panel: Panel, count: int, seed: int = 0) -> list[Formula]:
  """Random formulas of alpha-Sem-k that differ on a panel; up to `count`."""
  language = environment.make('sem_k', max_length=LENGTH)
  key = jax.random.key(seed)
  drawn = environment.random_formulas(language, key, DRAWN * count)
  drawn = list({formula_lib.key(f): f for f in drawn}.values())
  warmup = max(formula_lib.lookback(f) for f in drawn)
  if warmup + STEP >= len(panel.dates):
    drawn = [f for f in drawn if formula_lib.lookback(f) < len(panel.dates) / 2]
  units, coverage = _look(panel, drawn)
  chosen: list[int] = []
  for i in np.flatnonzero(coverage >= COVERAGE):
    near = behaviour.alike(units[i : i + 1], units[chosen])
    if near.max(initial=0.0) < APART and units[i].any():
      chosen.append(int(i))
    if len(chosen) == count:
      break
  return [drawn[i] for i in chosen]


def gram(panel: Panel, formulas: Sequence[Formula]) -> np.ndarray:
  """Mean daily correlations of formulas over the members, `[N, N]`."""
  units, _ = _look(panel, formulas)
  flat = units.reshape(len(units), -1)
  return flat @ flat.T / units.shape[1]


def daily_ics(
  panel: Panel, formulas: Sequence[Formula], label: LabelSpec
) -> np.ndarray:
  """Daily ICs with the panel's own label, `[N, T]`, T without the warm-up.

  Raises:
    ValueError: fewer days than look-back and label need.
  """
  warmup = max(formula_lib.lookback(f) for f in formulas)
  stop = len(panel.dates) - label.exit
  if not _is_long(panel, formulas, label):
    raise ValueError(
      f'{len(panel.dates)} days are too few for a look-back of {warmup} and a '
      f'label {label.exit} days ahead'
    )
  label_of_all = panel_lib.forward_return(panel, label)
  target = put(by_days(metrics.make_target, label_of_all, panel.mask))
  store = evaluate.make_store(panel)
  daily = store.map(list(formulas), metrics.target_ic, target)
  return daily[:, warmup:stop]


def _is_long(
  panel: Panel, formulas: Sequence[Formula], label: LabelSpec
) -> bool:
  """Whether more days than a label spans have ICs."""
  warmup = max((formula_lib.lookback(f) for f in formulas), default=0)
  return len(panel.dates) - label.exit - warmup > label.exit


class View(NamedTuple):
  """What formulas see of a panel."""

  gram: np.ndarray  # f32[N, N]
  daily: np.ndarray  # f32[N, T], of `daily_ics`.


def look(
  panel: Panel, formulas: Sequence[Formula], label: LabelSpec
) -> View | None:
  """None where a panel is too short for ICs, or formulas are under three."""
  if len(formulas) < 3 or not _is_long(panel, formulas, label):
    return None
  return View(gram(panel, formulas), daily_ics(panel, formulas, label))


def figures(
  view: View | None, real: View | None, unseen: View | None, label: LabelSpec
) -> dict[str, float | None]:
  """What formulas see of a panel beside what they see of real ones.

  `gram`: correlation of the two Gram matrices, off the diagonal.
  `ic_deviation`: deviation of a daily IC, median over formulas.
  `ic_error`: standard error of a mean IC that knows of overlap, in the median,
  scaled to the days of the real panel.
  `ic_size`: mean |IC|, and `ic_rank`: Spearman correlation of the mean ICs with
  the real ones. `ic_rank_valid`: with those of later real days, which is what
  formulas are worth that were chosen on the panel.
  None where it cannot be said.

  Args:
    view: of the panel.
    real: of the days that it was made from.
    unseen: of later ones.
    label: of all of them.
  """
  out: dict[str, float | None] = dict.fromkeys(FIGURES)
  if view is None:
    return out
  daily = view.daily
  means = daily.mean(1)
  out['ic_deviation'] = float(np.median(daily.std(1)))
  out['ic_size'] = float(np.abs(means).mean())
  if unseen is not None:
    out['ic_rank_valid'] = _rank(means, unseen.daily.mean(1))
  if real is None:
    return out
  pairs = np.triu_indices(len(daily), 1)
  out['gram'] = float(np.corrcoef(view.gram[pairs], real.gram[pairs])[0, 1])
  errors = [
    metrics.mean_error(series, label.exit - 1).error for series in daily
  ]
  scale = np.sqrt(daily.shape[1] / real.daily.shape[1])
  out['ic_error'] = float(np.median(errors) * scale)
  out['ic_rank'] = _rank(means, real.daily.mean(1))
  return out


def _rank(one: np.ndarray, other: np.ndarray) -> float | None:
  rank = float(stats.spearmanr(one, other).statistic)
  return rank if np.isfinite(rank) else None


def _look(
  panel: Panel, formulas: Sequence[Formula]
) -> tuple[np.ndarray, np.ndarray]:
  """Behaviours f32[N, D, S] on some days, and coverage f32[N]."""
  warmup = max(formula_lib.lookback(f) for f in formulas)
  days = jnp.arange(warmup, len(panel.dates), STEP)
  if not days.size:
    raise ValueError(
      f'{len(panel.dates)} days are too few for formulas that look {warmup} '
      'days back'
    )
  store = evaluate.make_store(panel)
  members = jnp.asarray(panel.mask)
  units, coverage = store.map(list(formulas), _measure, members, days)
  return np.asarray(units), np.asarray(coverage)


def _measure(
  values: jax.Array, members: jax.Array, days: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Behaviour and coverage of one formula."""
  known = members[days] & jnp.isfinite(values[days])
  count = jnp.maximum(jnp.sum(members[days]), 1)
  return behaviour.unit(values, members, days), jnp.sum(known) / count
