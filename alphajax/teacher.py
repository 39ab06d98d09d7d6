"""What other runs say of the days that a run learns from."""

from pathlib import Path

import jax
import numpy as np

from alphajax import evaluate, markets
from alphajax.data.panel import Split
from alphajax.methods import teaching
from alphajax.run.files import RunError


@jax.enable_x64(False)  # As the teachers were.
def teach(config, split: Split) -> Split:
  """The train split with the signal of `config.teacher` as its labels.

  Every teacher reads the data of this config by its own options. Without any
  the split is as it was.

  Raises:
    RunError: a teacher cannot be read.
    ValueError: they say nothing of a scored day; see `teaching.taught`.
  """
  runs = teaching.named(config)
  if not runs:
    return split
  return teaching.taught(split, [_said(config, split, run) for run in runs])


def _said(config, split: Split, run: str) -> np.ndarray:
  """What a teacher says of the days of the split, f32[T, S]."""
  place = Path(run).expanduser()
  theirs, predict, _ = evaluate.result_of(place, config.data.path or None)
  theirs = theirs.copy_and_resolve_references()
  theirs.splits.train = tuple(config.splits[split.name])
  for key in ('path', 'source', 'simulate'):  # What the market is.
    if key in config.data:
      theirs.data[key] = config.data[key]
  try:
    panel = markets.load_split(theirs, 'train').panel
  except ValueError as error:
    raise RunError(f'config.teacher.runs has {run}: {error}') from error
  return teaching.on_days(split, panel, np.asarray(predict(panel)))
