"""What another run says of the days that a run learns from."""

from pathlib import Path

import jax
import numpy as np

from alphajax import evaluate, markets
from alphajax.data.panel import Split
from alphajax.methods import teaching
from alphajax.run.files import RunError


@jax.enable_x64(False)  # As the teacher was.
def teach(config, split: Split) -> Split:
  """The train split with the signal of `config.teacher` as its labels.

  The teacher reads the data of this config by its own options. Without one the
  split is as it was.

  Raises:
    RunError: the teacher cannot be read.
    ValueError: it says nothing of a scored day; see `teaching.taught`.
  """
  if not (run := teaching.named(config)):
    return split
  place = Path(run).expanduser()
  theirs, predict, _ = evaluate.result_of(place, config.data.path or None)
  theirs = theirs.copy_and_resolve_references()
  theirs.splits.train = tuple(config.splits[split.name])
  if config.data.path:
    theirs.data.path = config.data.path
  try:
    said = markets.load_split(theirs, 'train')
  except ValueError as error:
    raise RunError(f'config.teacher.run is {run}: {error}') from error
  return teaching.taught(split, said, np.asarray(predict(said.panel)))
