"""What judging 1,000 formulas costs beside evaluating them."""

import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from alphajax.data import market as market_lib
from alphajax.data import panel as panel_lib
from alphajax.data.panel import LabelSpec
from alphajax.factor import evaluate, metrics
from alphajax.judge import assessment, ledger
from scripts.benchmark import formulas as formulas_part
from scripts.benchmark import tools

LOOKBACK = 300
TURNS = 3  # Of evaluation and judgement, which take turns.


def assess_part(quick: bool, data: str) -> dict:
  """Seconds of evaluation alone, and of the same with all that is judged.

  Evaluation is `Store.map` with the daily IC, as methods evaluate. Programs
  are compiled before, and the behaviours of the published formulas are there.
  """
  path = Path(data) / 'cn_csi300.parquet'
  if not quick and path.is_file():
    panel = market_lib.load(path)
  else:
    panel = tools.synthetic(*tools.sizes(quick))
  start = panel.dates[0 if quick else LOOKBACK]
  label = LabelSpec()
  split = panel_lib.split(
    panel, 'all', start, panel.dates[-1], lookback=40 if quick else LOOKBACK
  )
  count = 40 if quick else 1000
  formulas = tools.random_formulas(0, count, quick)
  others = tools.random_formulas(1, count, quick)
  target = metrics.make_target(
    jnp.asarray(split.target), jnp.asarray(split.panel.mask)
  )

  def run_alone(batch):
    store = evaluate.make_store(split.panel)
    store.map(batch, formulas_part.mean_ic, target)

  def judge(batch):
    question = assessment.Question(
      tuple(batch), ('',) * len(batch), split, label,
      every=label.exit - label.entry,
    )  # fmt: skip
    measured = assessment.measure(question, f'benchmark {path} {quick}')
    assessment.describe(question, measured, ledger.Tally(count, count))

  seconds: dict[str, list[float]] = {'evaluation': [], 'assess': []}
  for turn in range((1 if quick else TURNS) + 1):
    for name, run in (('evaluation', run_alone), ('assess', judge)):
      begun = time.perf_counter()
      run(formulas if turn else [*others, *formulas])
      if turn:  # The first one compiles.
        seconds[name].append(time.perf_counter() - begun)
  ratios = np.array(seconds['assess']) / seconds['evaluation']
  return {
    'days_stocks': split.panel.mask.shape,
    'formulas': count,
    'seconds': {name: tools.summary(each) for name, each in seconds.items()},
    'turns': seconds,
    'ratio': float(np.median(ratios)),
  }
