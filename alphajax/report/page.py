"""`report.html` of a run: one self-contained page, from its folder alone."""

import functools
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from alphajax.data.panel import SPLITS, bar_word
from alphajax.judge import result
from alphajax.report import (
  canvas,
  compare,
  days,
  factors,
  judged,
  notices,
  templates,
  training,
  verdict,
  walk_page,
)
from alphajax.run import config as config_lib
from alphajax.run import files
from alphajax.run.files import RunError
from alphajax.run.folder import Run, load_run

ALGORITHM_1 = 'algorithm1'  # As `methods.choice` has it.
LOSSES = {'policy_loss': 'policy loss', 'value_loss': 'value loss'}
Drawn = tuple[str, str, str]  # Title, caption, SVG.


def split_figures(run: Run) -> dict[str, dict[str, Any]]:
  """Figures of the pool by split: IC, RankIC, ICIR, RankICIR, days, ceiling.

  The ceiling is the IC of what was planted in a simulated market, else None.
  """
  pool, results = run.pool or {}, run.results or {}
  found = dict(pool.get('pool', {}))
  ceilings = dict(pool.get('ceiling', {}))
  if 'test' in results:
    found['test'] = results['test']
    ceilings['test'] = results.get('ceiling')
  return {
    split: found[split] | {'ceiling': ceilings.get(split)}
    for split in SPLITS
    if split in found
  }


def factor_rows(run: Run) -> list[dict[str, Any]]:
  """Rows of the pool table, heaviest first; `name` is what figures use.

  `lost`: see `float_range.lost_share`, of the split that loses most.
  """
  if run.pool is None:
    return []
  judged_rows = (run.results or {}).get('factors', [])
  tested = {each['formula']: each.get('test', each) for each in judged_rows}
  cards = _cards(run)
  found = run.pool.get('factors') or []
  read = _reader(run)
  largest = max((abs(f['weight']) for f in found), default=0) or 1
  order = sorted(range(len(found)), key=lambda i: -abs(found[i]['weight']))
  return [
    {
      'name': f'F{rank}',
      'index': i,  # Where `pool.json` and `daily.npz` have it.
      'share': abs(found[i]['weight']) / largest,
      'test': tested.get(found[i]['formula']),
      'lost': _lost(found[i], tested.get(found[i]['formula'])),
      'reading': read(found[i]['formula']),
      'card': factors.card(cards.get(found[i]['formula']), _bar_word(run)),
      **found[i],
    }
    for rank, i in enumerate(order, start=1)
  ]


def _cards(run: Run) -> dict[str, Mapping[str, Any]]:
  """What was found of each factor on the test split; else on other days."""
  results = run.results or {}
  return {
    factor['formula']: factor['card']
    for entry in (*results.get('evaluations', {}).values(), results)
    for factor in entry.get('factors', ())
    if factor.get('card')
  }


def _reader(run: Run) -> Callable[[str], str]:
  """Says a formula of the run in words; these are of days."""
  if _bar_word(run) != 'days':
    return lambda text: ''
  features = (run.config or {}).get('language', {}).get('features', ())
  return functools.partial(factors.reading, features=features)


def _lost(factor: Mapping[str, Any], tested: Mapping[str, Any] | None) -> float:
  """The largest share of cells that a factor loses to float32 on a split."""
  parts = (factor['train'], factor['valid'], tested or {})
  # Runs of older versions do not say.
  return max(part.get('lost', 0.0) for part in parts)


def run_figures(run: Run, rows: Sequence[dict[str, Any]]) -> list[dict]:
  """Title, caption and SVG of each figure that the folder has data for."""
  parts = (
    _learning_figures(run),
    _daily_figures(run),
    _factor_figures(run, rows),
    _cost_figures(run),
  )
  return [
    {'title': title, 'caption': caption, 'svg': Markup(svg)}
    for title, caption, svg in itertools.chain(*parts)
  ]


def _learning_figures(run: Run) -> Iterator[Drawn]:
  """The IC as the run went on."""
  ics = {split: run.column(f'{split}_ic') for split in ('train', 'valid')}
  ics = {split: y for split, y in ics.items() if np.isfinite(y).any()}
  if not ics:
    return
  iteration, evaluated = run.column('iteration'), run.column('evaluated')
  counted = np.isfinite(evaluated).all()
  x = evaluated if counted else iteration
  best = iteration == (run.pool or {}).get('iteration')
  mark = None
  if 'valid' in ics and best.any():
    mark = x[best][0], ics['valid'][best][0]
  yield (
    'Pool IC by formulas evaluated' if counted else 'IC by iteration',
    _learning_caption(run),
    training.curves(
      [(split, split, '-', x, y) for split, y in ics.items()],
      'formulas evaluated (below: the iteration)' if counted else 'iteration',
      'IC of the pool' if counted else 'IC of the signal',
      'learning',
      mark,
      iteration if counted else None,
    ),
  )


def _learning_caption(run: Run) -> str:
  """Whose IC is drawn, and which of them is the result."""
  caption = f'The result is {_kept(run)}.'
  config = config_lib.flatten(run.config or {})
  if run.metrics[-1].get('valued') and _rule(config) != ALGORITHM_1:
    # What `choice.choose` says of a pool; pool.json has all days.
    caption += (
      f' While it runs, train is seen on {config.get("pool.days")} of its days.'
    )
  if runs := config.get('teacher.runs'):
    caption += (
      ' Of train it is no IC, but the correlation with the signal of '
      f'{", ".join(runs)}, from which this run learns.'
    )
  return caption


def _daily_figures(run: Run) -> Iterator[Drawn]:
  """The IC by day and by month."""
  series = {split: run.series(split) for split in run.splits()}
  if not series:
    return
  yield (
    'Cumulative IC',
    'Each split starts from 0. A straight line is a steady factor.',
    days.cumulative(series),
  )
  yield (
    'Monthly IC',
    'Mean of the daily IC within each month, and within each year. The stripe '
    'at the left is the split.',
    days.monthly({split: each[:2] for split, each in series.items()}),
  )


def _factor_figures(
  run: Run, rows: Sequence[dict[str, Any]]
) -> Iterator[Drawn]:
  """Each factor alone, and how alike they are."""
  if not rows:
    return
  names = [row['name'] for row in rows]
  splits = [s for s in SPLITS if all(row.get(s) for row in rows)]
  yield (
    'IC of each factor',
    'Mean and interval of the daily IC of each factor alone.',
    factors.forest(names, {s: [row[s]['ic'] for row in rows] for s in splits}),
  )
  correlation = _correlation(run, rows)
  if correlation is not None:
    yield (
      'Factor correlations',
      'Mean over train days of the cross-sectional correlation.',
      factors.heat_map(names, correlation),
    )


def _correlation(run: Run, rows: Sequence[dict[str, Any]]) -> np.ndarray | None:
  """Correlation of the factors in the order of the rows, `[P, P]`."""
  if len(rows) < 2 or 'correlation' not in run.daily:
    return None
  order = [row['index'] for row in rows]
  return run.daily['correlation'][np.ix_(order, order)]


def twins(run: Run, rows: Sequence[dict[str, Any]]) -> list[str]:
  """Sentences on the factors of the pool that say nearly the same."""
  correlation = _correlation(run, rows)
  if correlation is None:
    return []
  names, weights = zip(*((r['name'], r['weight']) for r in rows), strict=True)
  return factors.twins(names, weights, correlation)


def _cost_figures(run: Run) -> Iterator[Drawn]:
  """Losses of the networks, and where the time went."""
  iteration = run.column('iteration')
  found = {label: run.column(key) for key, label in LOSSES.items()}
  found = {k: y for k, y in found.items() if np.isfinite(y).any()}
  if found:
    yield (
      'Losses',
      'Means over the updates of an iteration.',
      training.losses(iteration, found),
    )
  names = set().union(*(record.get('seconds', ()) for record in run.metrics))
  if 'total' not in names:
    return
  parts = {name: run.seconds(name) for name in names - {'total', 'other'}}
  rest = run.seconds('total') - sum(parts.values())
  yield (
    'Time by part',
    'Seconds of each iteration, compile time included; other is what no part '
    'measures.',
    training.seconds(iteration, parts | {'other': np.maximum(rest, 0)}),
  )


def render(run: Run, others: Sequence[Run] = ()) -> str:
  """The page as HTML text; nothing in it is fetched from elsewhere."""
  rows, bars = factor_rows(run), _bar_word(run)
  comparison = compare.compare(run, others) if others else None
  return templates.template('template.html').render(
    run=run,
    label=result.label_text(run.pool['label'], bars) if run.pool else '',
    bars=bars,
    kept=_kept(run),
    last=run.metrics[-1],
    compile_seconds=np.nansum(run.column('compile_seconds')),
    total_seconds=run.seconds('total').sum(),
    notices=notices.notices(run),
    verdict=_verdict(run, comparison, bars),
    judged=_judged(run, bars),
    splits=split_figures(run),
    rows=rows,
    twins=twins(run, rows),
    # Runs of older versions do not say.
    rescaled=any('rescaled' in row for row in rows),
    figures=run_figures(run, rows),
    comparison=comparison,
    config=config_lib.flatten(run.config or {}),
    provenance=config_lib.flatten(run.provenance or {}),
    now=templates.now(),
  )


def _verdict(
  run: Run, comparison: Mapping[str, Any] | None, bars: str
) -> list[verdict.Sentence]:
  """Sentences on the test split; none while it was not evaluated."""
  results = run.results or {}
  if 'test' not in results or run.pool is None:
    return []
  controls = []
  for row in comparison['rows'] if comparison else ():
    found = row['differences']
    # The test split where both were opened; never what was trained on.
    for split, name in (('test', 'test'), ('valid', 'validation')):
      if row['is_random'] and split in found:
        controls.append((row['name'], found[split], name))
        break
  method = (run.config or {}).get('method', '')
  is_control = not controls and 'random' in method
  horizon = run.pool['label']['horizon']
  return verdict.sentences(
    results, horizon, bars, None if is_control else controls
  )


def _judged(run: Run, bars: str) -> list[dict[str, Any]]:
  """A section for each evaluation; the test split's verdict is on top."""
  if run.pool is None:
    return []
  horizon = run.pool['label']['horizon']
  return [
    judged.section(each, horizon, bars)
    if each.name == 'test'
    else judged.section(
      each,
      horizon,
      bars,
      months=True,
      sentences=verdict.sentences(each.entry, horizon, bars, None),
    )
    for each in judged.of_run(run)
  ]


def _kept(run: Run) -> str:
  """Why the result is the one of the run."""
  config = config_lib.flatten(run.config or {})
  method, rule = config.get('method'), _rule(config)
  if method == 'ensemble' and config.get('ensemble.weighting') == 'equal':
    return 'the mean of its pools'
  if method in ('ensemble', 'published'):  # Nothing is mined.
    return f'weighted by {rule}'
  if rule == ALGORITHM_1:
    return 'the best by validation'
  return f'chosen by {rule} from all formulas evaluated'


def _rule(config: Mapping[str, Any]) -> str:
  """The pool rule of a flat config."""
  return config.get('pool.rule', ALGORITHM_1)


def _bar_word(run: Run) -> str:
  """What the bars of the run are called."""
  splits = run.splits()
  return bar_word(run.series(splits[0])[0]) if splits else 'bars'


def write_report(
  workdir: str | os.PathLike, others: Sequence[str | os.PathLike] = ()
) -> Path:
  """Writes `report.html` into the folder of a run and returns its path.

  The folder of years walked forward has a page too; it is compared with others.

  Raises:
    RunError: a folder is not that of a run, or there are too many.
    ValueError: walks that cannot be compared.
  """
  if len(others) >= canvas.MAX_RUNS:
    raise RunError(f'at most {canvas.MAX_RUNS - 1} runs can be compared with')
  workdir, *others = (Path(each).expanduser() for each in (workdir, *others))
  if walk_page.is_walk(workdir):
    walks = [walk_page.load(each) for each in (workdir, *others)]
    page = walk_page.render(walks[0], walks[1:])
  else:
    page = render(load_run(workdir), [load_run(other) for other in others])
  path = workdir / 'report.html'
  files.write_text(path, page)
  return path
