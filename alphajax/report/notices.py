"""Sentences on what a reader must know before the figures."""

import numpy as np

from alphajax.run.folder import Run


def notices(run: Run) -> list[str]:
  """What is unfinished, missing or no longer unseen, a sentence each."""
  unfinished = _cut_short(run) or _unfinished(run)
  return [*unfinished, *_missing(run), *_opened(run)]


def _cut_short(run: Run) -> list[str]:
  done = run.metrics[-1]['iteration']
  if done >= run.checkpoint:
    return []
  return [
    f'metrics.jsonl ends with iteration {done}, but the newest checkpoint is '
    f'that of iteration {run.checkpoint}: lines were lost, and what came after '
    'is not drawn. Put a copy back.'
  ]


def _unfinished(run: Run) -> list[str]:
  config, last = run.config or {}, run.metrics[-1]
  total, done = config.get('num_iterations'), last['iteration']
  if total is None or done >= total:
    return []
  budget = config.get('max_evaluated')
  if budget and (last.get('evaluated') or 0) >= budget:
    return []  # It ended as it was told to.
  return [
    f'{done} of {total} iterations: the run stopped early, was interrupted, '
    'or is still under way.'
  ]


def _missing(run: Run) -> list[str]:
  """What the folder does not hold, so that the page does not show it."""
  lines = [
    f'{name}.json is missing: {what} is shown.'
    for name, what in (('pool', 'no pool'), ('config', 'no config'))
    if getattr(run, name) is None
  ]
  if run.pool is not None and not run.pool.get('factors'):
    lines.append(
      'The result is a signal without formulas: there is no pool and no factor '
      'to show.'
    )
  if 'ic_train' not in run.daily:
    lines.append('daily.npz is missing: no daily figures are shown.')
  unknown = [
    what
    for key, what in (
      ('train_ic', 'train IC'),
      ('valid_ic', 'validation IC'),
      ('evaluated', 'number of formulas evaluated'),
    )
    if not np.isfinite(run.column(key)).any()
  ]
  if unknown:
    lines.append(
      f'metrics.jsonl has no {" and no ".join(unknown)} by iteration: what '
      'needs it is left out.'
    )
  return lines


def _opened(run: Run) -> list[str]:
  """What became of the test split."""
  lines = []
  results = run.results or {}
  if results.get('opened') and 'test' not in results:
    lines.append(
      'The test split was opened, but its figures were not written: evaluate '
      'was interrupted.'
    )
  elif 'test' in results and not len(run.daily.get('ic_test', ())):
    lines.append('daily_test.npz is missing: no test days are drawn.')
  at = (run.pool or {}).get('iteration')
  if results.get('iteration', at) != at:
    lines.append(
      f'The test figures are those of the pool of iteration '
      f'{results["iteration"]}, not of the one shown: the run went on after '
      'the test split was opened.'
    )
  return lines
