"""`report.html` of a run: one self-contained page, from its folder alone."""

import datetime
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from alphajax.data.panel import SPLITS
from alphajax.factor import metrics as factor_metrics
from alphajax.report import figures
from alphajax.run import checkpoint, writer
from alphajax.run.folder import Run, RunError, load_run

PARTS = ('search', 'evaluation', 'pool', 'update')
LOSSES = {'policy_loss': 'policy loss', 'value_loss': 'value loss'}


def notices(run: Run) -> list[str]:
  """Sentences on what a reader must know before the figures."""
  lines = []
  total = (run.config or {}).get('num_iterations')
  done = run.metrics[-1]['iteration']
  if total is not None and done < total:
    lines.append(
      f'{done} of {total} iterations: the run stopped early, was interrupted, '
      'or is still under way.'
    )
  for name, what in (('pool', 'no pool'), ('config', 'no config')):
    if getattr(run, name) is None:
      lines.append(f'{name}.json is missing: {what} is shown.')
  if 'ic_train' not in run.daily:
    lines.append('daily.npz is missing: no daily figures are shown.')
  results = run.results or {}
  if run.results and 'test' not in results:
    lines.append(
      'The test split was opened, but its figures were not written: evaluate '
      'was interrupted.'
    )
  elif run.results and not len(run.daily.get('ic_test', ())):
    lines.append('daily_test.npz is missing: no test days are drawn.')
  at = (run.pool or {}).get('iteration')
  if results.get('iteration', at) != at:
    lines.append(
      f'The test figures are those of the pool of iteration '
      f'{results["iteration"]}, not of the one shown: the run went on after '
      'the test split was opened.'
    )
  opened = results.get('opened', 0)
  if opened > 1:
    lines.append(
      f'The test split was opened {opened} times: its figures are no longer '
      'those of a split never looked at.'
    )
  return lines


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
  """Rows of the pool table, heaviest first; `name` is what figures use."""
  if run.pool is None:
    return []
  tested = {
    entry['formula']: entry.get('test', entry)
    for entry in (run.results or {}).get('factors', [])
  }
  factors = run.pool['factors']
  largest = max((abs(f['weight']) for f in factors), default=0) or 1
  order = sorted(range(len(factors)), key=lambda i: -abs(factors[i]['weight']))
  return [
    {
      'name': f'F{rank}',
      'index': i,  # Where `pool.json` and `daily.npz` have it.
      'share': abs(factors[i]['weight']) / largest,
      'test': tested.get(factors[i]['formula']),
      **factors[i],
    }
    for rank, i in enumerate(order, start=1)
  ]


def run_figures(run: Run, rows: Sequence[dict[str, Any]]) -> list[dict]:
  """Title, caption and SVG of each figure that the folder has data for."""
  iteration, evaluated = run.column('iteration'), run.column('evaluated')
  ics = {split: run.column(f'{split}_ic') for split in ('train', 'valid')}
  out = []

  def add(title: str, caption: str, svg: str) -> None:
    out.append({'title': title, 'caption': caption, 'svg': Markup(svg)})

  for name, x, label in (
    ('iteration', iteration, 'iteration'),
    ('evaluated', evaluated, 'formulas evaluated'),
  ):
    lines = [(s, s, '-', x, y) for s, y in ics.items()]
    best = iteration == (run.pool or {}).get('iteration')
    mark = (x[best][0], ics['valid'][best][0]) if best.any() else None
    add(
      f'Pool IC by {label}',
      'The pool with the best validation IC is the result.',
      figures.curves(lines, label, 'IC of the pool', name, mark),
    )
  if run.splits():
    series = {split: run.series(split) for split in run.splits()}
    add(
      'Cumulative IC',
      'Each split starts from 0. A straight line is a steady factor.',
      figures.cumulative(series),
    )
    add(
      'Monthly IC',
      'Mean of the daily IC of the pool within each month.',
      figures.monthly({split: s[:2] for split, s in series.items()}),
    )
  for title, caption, svg in _factor_figures(run, rows):
    add(title, caption, svg)
  found = {label: run.column(key) for key, label in LOSSES.items()}
  found = {k: y for k, y in found.items() if np.isfinite(y).any()}
  if found:
    add(
      'Losses',
      'Means over the updates of an iteration.',
      figures.losses(iteration, found),
    )
  parts = {part: run.seconds(part) for part in PARTS}
  rest = run.seconds('total') - sum(parts.values())
  add(
    'Time by part',
    'Seconds of each iteration, compile time included.',
    figures.seconds(iteration, parts | {'other': np.maximum(rest, 0)}),
  )
  return out


def _factor_figures(run: Run, rows: Sequence[dict[str, Any]]):
  """Title, caption and SVG of the figures about single factors."""
  if not rows:
    return
  names = [row['name'] for row in rows]
  splits = [s for s in SPLITS if all(row[s] for row in rows)]
  yield (
    'IC of each factor',
    'Mean and interval of the daily IC of each factor alone.',
    figures.forest(names, {s: [row[s]['ic'] for row in rows] for s in splits}),
  )
  if len(rows) > 1 and 'correlation' in run.daily:
    order = [row['index'] for row in rows]
    yield (
      'Factor correlations',
      'Mean over train days of the cross-sectional correlation.',
      figures.heat_map(names, run.daily['correlation'][np.ix_(order, order)]),
    )


def compare(run: Run, others: Sequence[Run]) -> dict[str, Any]:
  """Curves of several runs by evaluated formulas, and paired differences."""
  names = _unique_names([run, *others])
  lines = []
  for i, (name, each) in enumerate(zip(names, (run, *others), strict=True)):
    x = each.column('evaluated')
    lines.append((name, f'run{i}', '-', x, each.column('valid_ic')))
    lines.append(('_', f'run{i}', ':', x, each.column('train_ic')))
  rows = []
  for name, other in zip(names[1:], others, strict=True):
    differences = {
      split: _paired_difference(run, other, split)
      for split in SPLITS
      if run.pool and split in run.splits() and split in other.splits()
    }
    rows.append(
      {
        'name': name,
        'last': other.metrics[-1],
        'differences': differences,
        'warnings': _mismatches(run, other),
      }
    )
  svg = figures.curves(lines, 'formulas evaluated', 'IC of the pool', 'compare')
  return {'svg': Markup(svg), 'rows': rows, 'name': names[0]}


def _paired_difference(run: Run, other: Run, split: str) -> dict[str, Any]:
  """Mean daily IC of `run` minus that of `other` on their common days."""
  dates, ic, _ = run.series(split)
  other_dates, other_ic, _ = other.series(split)
  common, mine, theirs = np.intersect1d(
    dates, other_dates, assume_unique=True, return_indices=True
  )
  lag = run.pool['label']['horizon'] - 1  # Labels of h days overlap.
  if len(common) <= lag:
    return {'days': len(common)}  # Too few for an interval.
  mean, low, high = factor_metrics.mean_interval(
    ic[mine] - other_ic[theirs], lag
  )
  return {
    'mean': float(mean),
    'low': float(low),
    'high': float(high),
    'days': len(common),
  }


def _mismatches(run: Run, other: Run) -> list[str]:
  """What makes a comparison unfair or void."""
  lines = []
  hashes = {(r.provenance or {}).get('data_hash') for r in (run, other)}
  if len(hashes) > 1:
    lines.append('other data')
  labels = {json.dumps((r.pool or {}).get('label')) for r in (run, other)}
  if len(labels) > 1:
    lines.append('other label')
  ends = [r.metrics[-1]['evaluated'] for r in (run, other)]
  if max(ends) > 1.05 * min(ends):
    lines.append(f'{ends[1]:,} formulas evaluated against {ends[0]:,}')
  return lines


def _unique_names(runs: Sequence[Run]) -> list[str]:
  names = [run.name for run in runs]
  if len(set(names)) < len(names):
    return [str(run.workdir) for run in runs]
  return names


def render(run: Run, others: Sequence[Run] = ()) -> str:
  """The page as HTML text; nothing in it is fetched from elsewhere."""
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  environment.filters |= {'number': _number, 'clock': _clock}
  rows = factor_rows(run)
  return environment.get_template('template.html').render(
    run=run,
    last=run.metrics[-1],
    compile_seconds=np.nansum(run.column('compile_seconds')),
    total_seconds=run.seconds('total').sum(),
    notices=notices(run),
    splits=split_figures(run),
    rows=rows,
    # Runs of older versions do not say.
    rescaled=any('rescaled' in row for row in rows),
    figures=run_figures(run, rows),
    comparison=compare(run, others) if others else None,
    config=checkpoint.flatten(run.config or {}),
    provenance=checkpoint.flatten(run.provenance or {}),
    now=datetime.datetime.now().astimezone().strftime('%Y-%m-%d %H:%M %Z'),
  )


def _number(value: float | None, digits: int = 4) -> str:
  """0.0612 with a real minus sign; what is not known is a dash."""
  if value is None:
    return '\N{EN DASH}'
  return f'{value:.{digits}f}'.replace('-', '\N{MINUS SIGN}')


def _clock(seconds: float) -> str:
  """Whole time as one reads it: 48 s, 3 min 20 s, 2 h 5 min."""
  minutes, rest = divmod(round(float(seconds)), 60)
  hours, minutes_left = divmod(minutes, 60)
  if hours:
    return f'{hours} h {minutes_left} min'
  return f'{minutes} min {rest} s' if minutes else f'{rest} s'


def write_report(
  workdir: str | os.PathLike, others: Sequence[str | os.PathLike] = ()
) -> Path:
  """Writes `report.html` into the folder of a run and returns its path.

  Raises:
    RunError: a folder is not that of a run, or there are too many.
  """
  if len(others) >= figures.MAX_RUNS:
    raise RunError(f'at most {figures.MAX_RUNS - 1} runs can be compared with')
  page = render(load_run(workdir), [load_run(other) for other in others])
  path = Path(workdir) / 'report.html'
  writer.write_text(path, page)
  return path
