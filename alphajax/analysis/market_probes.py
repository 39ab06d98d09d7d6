"""What formulas see of a panel: how alike they are, and how their ICs vary.

For a synthetic market that formulas are mined in, this matters more than the
distribution of a return.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from alphajax.analysis import behaviour
from alphajax.data import panel as panel_lib
from alphajax.data.panel import LabelSpec, Panel
from alphajax.factor import evaluate, metrics
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula

LENGTH = 6  # Of the random formulas, at most.
APART = 0.97  # Largest |correlation| of two.
COVERAGE = 0.8  # Least share of member-days with a value.
FIGURES = ('gram', 'ic_deviation', 'ic_error', 'ic_size', 'ic_rank')
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
  members = jnp.asarray(panel.mask)
  target = metrics.make_target(panel_lib.forward_return(panel, label), members)
  store = evaluate.make_store(panel)
  daily = store.map(list(formulas), metrics.target_ic, target)
  return daily[:, warmup:stop]


def _is_long(
  panel: Panel, formulas: Sequence[Formula], label: LabelSpec
) -> bool:
  """Whether more days than a label spans have ICs."""
  warmup = max((formula_lib.lookback(f) for f in formulas), default=0)
  return len(panel.dates) - label.exit - warmup > label.exit


def figures(
  panel: Panel, real: Panel, formulas: Sequence[Formula], label: LabelSpec
) -> dict[str, float | None]:
  """What formulas see of a panel beside what they see of a real one.

  `gram`: correlation of the two Gram matrices, off the diagonal.
  `ic_deviation`: deviation of a daily IC, median over formulas.
  `ic_error`: standard error of a mean IC that knows of overlap, in the median,
  scaled to the days of the real panel.
  `ic_size`: mean |IC|, and `ic_rank`: Spearman correlation of the mean ICs.
  None where a panel is too short to have ICs, or formulas are fewer than three.
  """
  enough = all(_is_long(x, formulas, label) for x in (panel, real))
  if len(formulas) < 3 or not enough:
    return dict.fromkeys(FIGURES)
  pairs = np.triu_indices(len(formulas), 1)
  one, other = (gram(x, formulas)[pairs] for x in (panel, real))
  daily, known = (daily_ics(x, formulas, label) for x in (panel, real))
  errors = [
    metrics.mean_error(series, label.exit - 1).error for series in daily
  ]
  scale = np.sqrt(daily.shape[1] / known.shape[1])
  rank = stats.spearmanr(daily.mean(1), known.mean(1)).statistic
  return {
    'gram': float(np.corrcoef(one, other)[0, 1]),
    'ic_deviation': float(np.median(daily.std(1))),
    'ic_error': float(np.median(errors) * scale),
    'ic_size': float(np.abs(daily.mean(1)).mean()),
    'ic_rank': float(rank) if np.isfinite(rank) else None,
  }


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
