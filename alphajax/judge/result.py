"""What `pool.json` and `daily.npz` say of a result, whatever made it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from alphajax.analysis import float_range, invariance
from alphajax.data.panel import LabelSpec, Panel, Split
from alphajax.factor import evaluate
from alphajax.judge import figures
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula

Predict = Callable[[Panel], jax.Array]  # panel -> signal f32[T, S]


def describe(
  predict: Predict,
  formulas: Sequence[Formula],
  split: Split,
  label: LabelSpec,
) -> dict[str, Any]:
  """Figures of a result on a split.

  Args:
    predict: its signal on a panel.
    formulas: the factors that the signal is made of; none where it is made of
      something else.
    split: the days.
    label: the label's horizon.

  Returns:
    `pool` and `factors` (maybe none) as they stand in `pool.json`; `series`:
    dates, ic, rank_ic `[T]`, factor_ic `[P, T]`, correlation `[P, P]`, scored
    days only. `lost` of a factor: see `float_range.lost_share`.
  """
  days = np.flatnonzero(split.scored)
  pool, series = figures.of_signal(predict(split.panel), split, label)
  series['dates'] = np.array(split.panel.dates)[days]
  factors: list[dict[str, Any]] = []
  if formulas:
    store = evaluate.make_store(split.panel)
    values = evaluate.one_by_one(store, formulas)
    found, more = figures.of_factors(values, split, label)
    series |= more
    scored = np.asarray(split.scored)
    lost = float_range.lost_share(formulas, split.panel, store, scored)
    factors = [
      each | {'lost': float(share)}
      for each, share in zip(found, lost, strict=True)
    ]
  return {'pool': pool, 'factors': factors, 'series': series}


def summarize(
  predict: Predict,
  formulas: Sequence[Formula],
  weights: Sequence[float],
  splits: Sequence[Split],
  label: LabelSpec,
  ceilings: dict[str, float | None],
) -> tuple[dict[str, Any], figures.Series]:
  """What `pool.json` and `daily.npz` say of a result.

  Args:
    predict, formulas, label: as in `describe`.
    weights: of the formulas.
    splits: train and validation.
    ceilings: IC of what is planted in each split, None where nothing is.
  """
  parts = {s.name: describe(predict, formulas, s, label) for s in splits}
  rescaled = _rescaled(formulas, splits[-1]) if formulas else []
  summary = {
    'label': describe_label(label),
    'pool': {name: part['pool'] for name, part in parts.items()},
    'ceiling': ceilings,
    'factors': [
      {
        'formula': formula_lib.to_text(formula),
        'weight': weight,
        **{name: part['factors'][i] for name, part in parts.items()},
        'rescaled': rescaled[i],
      }
      for i, (formula, weight) in enumerate(zip(formulas, weights, strict=True))
    ],
  }
  daily = {}
  for name, part in parts.items():
    correlation = part['series'].pop('correlation', None)
    if correlation is not None and name == splits[0].name:
      daily['correlation'] = correlation
    daily |= {f'{key}_{name}': x for key, x in part['series'].items()}
  return summary, daily


def describe_label(label: LabelSpec) -> dict[str, Any]:
  """A label as `pool.json` has it; `neutralize` only where it is."""
  fields = {'horizon': label.exit - label.entry, **label._asdict()}
  names = list(fields.pop('neutralize'))
  return fields | ({'neutralize': names} if names else {})


def label_text(label: Mapping[str, Any], bar: str = 'bars') -> str:
  """What `describe_label` gives, in words: `return over 20 days`.

  bar: what the bars of the data are called.
  """
  text = f'return over {label["horizon"]} {bar}'
  names = label.get('neutralize', ())
  return text + (f', neutralised by {", ".join(names)}' if names else '')


def _rescaled(
  formulas: Sequence[Formula], split: Split
) -> list[dict[str, Any] | None]:
  """Shares of days and ranks that another base of prices, volumes changes.

  None for a factor without a rank on the scored days.
  """
  checked = invariance.check(formulas, split.panel, np.asarray(split.scored))
  return [
    {
      name: {'days': float(change.days), 'ranks': float(change.moved)}
      for name, change in each._asdict().items()
    }
    if each.price.count
    else None
    for each in checked
  ]
