"""A run beside others: curves, and differences paired by day."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from alphajax.data.panel import SPLITS
from alphajax.factor import metrics as factor_metrics
from alphajax.report import training
from alphajax.run.folder import Run


def compare(run: Run, others: Sequence[Run]) -> dict[str, Any]:
  """Curves of several runs by evaluated formulas, and paired differences.

  Where a run counts no formulas, the curves are by iteration.
  """
  runs = [run, *others]
  names = _unique_names(runs)
  # A method without formulas counts none: then all are drawn by iteration.
  counted = all(np.isfinite(r.column('evaluated')).all() for r in runs)
  axis = 'evaluated' if counted else 'iteration'
  lines = []
  for i, (name, each) in enumerate(zip(names, runs, strict=True)):
    x = each.column(axis)
    lines.append((name, f'run{i}', '-', x, each.column('valid_ic')))
    lines.append(('_', f'run{i}', ':', x, each.column('train_ic')))
  label = 'formulas evaluated' if counted else 'iteration'
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
        'is_random': 'random' in (other.config or {}).get('method', ''),
        'differences': differences,
        'warnings': _mismatches(run, other),
      }
    )
  svg = training.curves(lines, label, 'IC', 'compare')
  return {'svg': Markup(svg), 'axis': label, 'rows': rows, 'name': names[0]}


def _paired_difference(run: Run, other: Run, split: str) -> dict[str, Any]:
  """Mean daily IC of `run` minus that of `other` on their common days."""
  dates, ic, _ = run.series(split)
  other_dates, other_ic, _ = other.series(split)
  common, mine, theirs = np.intersect1d(
    dates, other_dates, assume_unique=True, return_indices=True
  )
  assert run.pool is not None  # Else no split is compared.
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
  mine, theirs = (r.metrics[-1].get('evaluated') for r in (run, other))
  if mine and theirs and max(mine, theirs) > 1.05 * min(mine, theirs):
    lines.append(f'{theirs:,} formulas evaluated against {mine:,}')
  return lines


def _unique_names(runs: Sequence[Run]) -> list[str]:
  names = [run.name for run in runs]
  if len(set(names)) < len(names):
    return [str(run.workdir) for run in runs]
  return names
