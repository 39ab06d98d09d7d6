"""What is said at the end of a run: where its result is, or why it has none."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alphajax.data.panel import Split
from alphajax.methods import choice
from alphajax.run import writer


def lines(config, workdir: Path, split: Split, reason: str) -> list[str]:
  """Lines for the user.

  Args:
    config: of the run.
    workdir: its folder.
    split: train.
    reason: why it ended.
  """
  metrics = workdir / 'metrics.jsonl'
  records = writer.read(metrics) if metrics.exists() else []
  record = records[-1] if records else {}  # Some need no iteration.
  said = []
  if record.get('forgotten'):
    said.append(
      f'config.pool.keep = {config.pool.keep}: {record["forgotten"]} of the '
      f'{record["valued"]} formulas with a value were let go, the weakest; '
      'pools are chosen from the others'
    )
  result = workdir / 'pool.json'
  what = f'The result is {result}.'
  if not result.exists():
    what = why_no_pool(config, workdir, split, record)
  return [*said, f'Finished: {reason}. {what}']


def all_done(wanted: int, before: int) -> str:
  """Why a run ended that nothing stopped; it may have had more before."""
  if before <= wanted:
    return f'{wanted} iterations done'
  return (
    f'{before} iterations were done before, and config.num_iterations is '
    f'{wanted}: all of them stay'
  )


def why_no_pool(
  config, workdir: Path, split: Split, record: Mapping[str, Any]
) -> str:
  """Why a run ends without a result, and what to type.

  split: train.
  record: of the last iteration.
  """
  said, rule = 'No pool was found', config.get('pool', {}).get('rule')
  evaluated, valued = record.get('evaluated'), record.get('valued')
  columns = (
    'look at the prices, or name their columns with --config.data.columns'
  )
  if not _labels_differ(split):
    return f'{said}: on no day do the returns of two stocks differ; {columns}.'
  if evaluated == 0 and record.get('dead'):
    return (
      f'{said}: {record["dead"]} formulas were proposed and all are constant '
      f'or without a value on the days of the screen; {columns}.'
    )
  if evaluated and valued == 0:
    return (
      f'{said}: of {evaluated} formulas evaluated none has a value on a scored '
      f'day that differs between stocks; {columns}.'
    )
  if not valued:
    return f'{said}.'
  key = {
    choice.ALGORITHM_1: 'l1', 'elastic_net': 'penalty', 'lasso': 'penalty',
    'distilled': 'penalty',
  }.get(rule)  # fmt: skip
  said += f': {rule} gave none of {valued} formulas a weight'
  if key is None or not config.pool[key]:
    return f'{said}, for none tells anything of the label; evaluate others.'
  archive = shlex.quote(str(workdir))
  return (
    f'{said}. Try a smaller --config.pool.{key}, such as '
    f'{config.pool[key] / 4:g}; with --config.archive={archive}, '
    f'--config.max_evaluated={evaluated} and another --workdir a pool is '
    'chosen from the same formulas.'
  )


def _labels_differ(split: Split) -> bool:
  """Whether on some scored day two members have different labels."""
  label = np.where(split.panel.mask, split.target, np.nan)[split.scored]
  known = np.isfinite(label)
  high, low = np.where(known, label, -np.inf), np.where(known, label, np.inf)
  return bool(np.any(high.max(1) > low.min(1)))
