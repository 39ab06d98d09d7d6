"""Judges formulas of any origin on a span: figures, faults, novelty, claims."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from alphajax.analysis import novelty, sample, soundness, words
from alphajax.data.panel import LabelSpec, Split, bar_word
from alphajax.factor import evaluate
from alphajax.judge import batch, ledger, result
from alphajax.judge import published as published_lib
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula

ALPHA = 0.05  # A claim is made where the p-value after all judged is below it.
COMPARED = 2  # Of so many days of the sample, one is compared with others.
TWIN = 0.99  # Mean daily correlation above which two formulas are one.


class Question(NamedTuple):
  """What is judged on what.

  formulas: distinct.
  where: of each, the line it stands in.
  pool: signal f32[T, S] of their weighted pool, None without weights.
  against: formulas of the user's own, by name, to compare with.
  published: likewise, kept in the cache; None: the shipped libraries.
  every: of how many scored days one is ranked, see `batch`.
  """

  formulas: tuple[Formula, ...]
  where: tuple[str, ...]
  split: Split
  label: LabelSpec
  every: int = 1
  pool: jax.Array | None = None
  against: Mapping[str, Formula] = {}
  published: Mapping[str, Formula] | None = None


class Measured(NamedTuple):
  """Everything but what depends on how many formulas were judged."""

  statistics: batch.Statistics  # Of the formulas, then of the pool.
  bench: batch.Bench
  soundness: list[soundness.Soundness]
  published: list[novelty.Near | None]
  own: list[novelty.Near | None]


def measure(question: Question, data_key: str) -> Measured:
  """One pass over the panel, and the tests on a sample of it.

  data_key: tells the panel's data apart; behaviours of the published formulas
    are kept by it.
  """
  split, formulas = question.split, question.formulas
  bench = batch.make(split, question.label, every=question.every)
  store = evaluate.make_store(split.panel)
  found = batch.of_formulas(formulas, store, bench)
  del store  # Its values make room for those of the sample.
  published = _published(question.published, split)
  others = (*published.values(), *question.against.values())
  longest = max(map(formula_lib.lookback, (*formulas, *others)))
  part = sample.make(split, longest)
  where = tuple(each[::COMPARED] for each in sample.tested(part))
  store = evaluate.make_store(part.panel, keep=True)
  rows = store.map(formulas, novelty.behaviour, *where)
  if question.pool is not None:
    pool = batch.of_signal(question.pool, bench)
    found = jax.tree.map(lambda *x: np.concatenate(x), found, pool)
    row = novelty.behaviour(sample.cut(question.pool, part), *where)
    rows = np.concatenate([rows, np.asarray(row)[None]])
  known = _known(data_key, part, published, store, where)
  own = novelty.behave(question.against, store, *where)
  return Measured(
    statistics=found,
    bench=bench,
    soundness=soundness.check(formulas, part, store),
    published=novelty.nearest(rows, known),
    own=novelty.nearest(rows, own),
  )


def cards(
  formulas: Sequence[Formula],
  split: Split,
  label: LabelSpec,
  data_key: str,
  published: Mapping[str, Formula] | None = None,
) -> list[dict[str, Any]]:
  """What a page tells of each factor of a pool beside its IC.

  Args:
    formulas: of the pool, any number above 0.
    split, label: as of `Question`.
    data_key: as of `measure`.
    published: as of `Question`.

  Returns:
    Of each `decay` (IC by horizon), `turnover` and `autocorrelation` as of
    `batch.figures`, and `published`, the formula it behaves most like.
  """
  bench = batch.make(split, label)
  found = batch.of_formulas(formulas, evaluate.make_store(split.panel), bench)
  figures = batch.figures(found, bench, split, label, every=1, judged=1)
  published = _published(published, split)
  longest = max(map(formula_lib.lookback, (*formulas, *published.values())))
  part = sample.make(split, longest)
  where = tuple(each[::COMPARED] for each in sample.tested(part))
  store = evaluate.make_store(part.panel)
  rows = store.map(formulas, novelty.behaviour, *where)
  known = _known(data_key, part, published, store, where)
  return [
    {
      **{name: each[name] for name in ('decay', 'turnover', 'autocorrelation')},
      'published': _near(near),
    }
    for each, near in zip(figures, novelty.nearest(rows, known), strict=True)
  ]


def _published(
  given: Mapping[str, Formula] | None, split: Split
) -> Mapping[str, Formula]:
  """The formulas to compare with: those given, else the shipped libraries."""
  if given is None:
    return novelty.published(split.panel.feature_names)
  return given


def _known(
  data_key: str,
  part: sample.Sample,
  published: Mapping[str, Formula],
  store: evaluate.Store,
  where: tuple[jax.Array, ...],
) -> novelty.Known:
  """Their behaviours on a sample; made once, it takes half a minute."""
  return published_lib.kept(
    _key(data_key, part, published),
    lambda: novelty.behave(published, store, *where),
  )


def _key(
  data_key: str, part: sample.Sample, published: Mapping[str, Formula]
) -> str:
  """What the behaviours of the published formulas depend on."""
  panel = part.panel
  return json.dumps(
    [
      data_key,
      {name: formula_lib.key(each) for name, each in published.items()},
      panel.dates,
      panel.symbols,
      panel.feature_names,
      np.flatnonzero(part.days)[::COMPARED].tolist(),
      jax.default_backend(),
    ]
  )


def describe(
  question: Question, measured: Measured, tally: ledger.Tally
) -> dict[str, Any]:
  """What `assess.json` says but for where things are.

  tally: of the ledger, these formulas among them.
  """
  figures = batch.figures(
    measured.statistics, measured.bench, question.split, question.label,
    every=question.every, judged=tally.judged,
  )  # fmt: skip
  rows = [
    {
      'formula': formula_lib.to_text(formula),
      'where': where,
      'reading': words.reading(formula),
      **figure,
      'scale': {'price': sound.price, 'volume': sound.volume},
      'lost': sound.lost,
      'looks_ahead': sound.looks_ahead,
      'ranked': sound.ranked,
      'dead': [each._asdict() for each in sound.dead],
      'published': _near(published),
      'against': _near(own),
    }
    for formula, where, figure, sound, published, own in zip(
      question.formulas, question.where, figures, measured.soundness,
      measured.published, measured.own, strict=False,
    )
  ]  # fmt: skip
  for row in rows:
    row['verdict'] = verdict(row, tally.judged)
  pool = None
  if question.pool is not None:
    pool = {
      **figures[-1],
      'published': _near(measured.published[-1]),
      'against': _near(measured.own[-1]),
    }
    pool['verdict'] = claim(pool, tally.judged)
  split = question.split
  return {
    'label': result.describe_label(question.label),
    'bars': bar_word(split.panel.dates),
    'every': question.every,
    **tally._asdict(),
    'pool': pool,
    'formulas': rows,
    'claims': sum(is_claim(row) for row in rows),
    'expected_by_chance': ALPHA * len(rows),
    'below_alone': sum((row['ic']['p_value'] or 1) < ALPHA for row in rows),
  }


def _near(near: novelty.Near | None) -> dict[str, Any] | None:
  return None if near is None else near._asdict()


def is_claim(row: Mapping[str, Any]) -> bool:
  """Whether the IC is above or below 0 beyond what chance explains."""
  p_value = row['after']['p_value']
  return p_value is not None and p_value < ALPHA


def claim(row: Mapping[str, Any], judged: int) -> str:
  """What the IC says, in words."""
  after = row['after']
  if after['p_value'] is None:
    return 'too few days to tell'
  if row['ic']['mean'] == after['low'] == after['high'] == 0:
    return 'no value on enough stocks, or one for all'
  if is_claim(row):
    sign = 'above' if after['mean'] > 0 else 'below'
    return f'IC {sign} 0, also as one of {judged:,}'
  if row['ic']['p_value'] < ALPHA and judged > 1:
    return f'IC not told from 0 as one of {judged:,} (alone it would be)'
  return 'IC not told from 0'


def verdict(row: Mapping[str, Any], judged: int) -> list[str]:
  """Sentences on a formula, what matters most first."""
  lines = []
  if row['looks_ahead']:
    lines.append('looks ahead: values change when later days do')
  lines.append(claim(row, judged))
  for name, key in (('published', 'published'), ('your own', 'against')):
    near = row[key]
    if near and abs(near['correlation']) >= TWIN:
      reverse = ' reversed' if near['correlation'] < 0 else ''
      what = near['name'] if key == 'published' else f'{name} {near["name"]}'
      lines.append(f'is {what}{reverse}')
  for name, share in row['scale'].items():
    if share:
      lines.append(f'depends on the adjustment base of the {name}s')
  if row['lost']:
    lines.append(f'{100 * row["lost"]:.2g} % of cells leave float32')
  lines += [
    f'{each["part"]} does what {each["instead"]} does' for each in row['dead']
  ]
  return lines
