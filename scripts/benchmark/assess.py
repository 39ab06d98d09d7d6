"""What judging 1,000 formulas costs beside evaluating them."""

import time
from pathlib import Path

import jax.numpy as jnp

from alphajax.data import market as market_lib
from alphajax.data import panel as panel_lib
from alphajax.data.panel import LabelSpec
from alphajax.factor import evaluate, metrics
from alphajax.judge import assessment, ledger
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula
from scripts.benchmark import formulas as formulas_part
from scripts.benchmark import tools

LOOKBACK = 300
TURNS = 2  # Of evaluation and judgement, which take turns.


def assess_part(quick: bool, data: str) -> dict:
  """Seconds of evaluation alone, and of the same with all that is judged.

  Evaluation is `Store.map` with the daily IC, as methods evaluate. Programs
  are compiled before, and the behaviours of the published formulas are there.
  """
  path = Path(data) / 'cn_csi300.parquet'
  real = not quick and path.is_file()
  panel = (
    market_lib.load(path) if real else tools.synthetic(*tools.sizes(quick))
  )
  lookback, count = (40, 40) if quick else (LOOKBACK, 1000)
  split = panel_lib.split(
    panel, 'all', panel.dates[lookback], panel.dates[-1], lookback=lookback
  )
  label, formulas = LabelSpec(), tools.random_formulas(0, count, quick)
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
      published={} if quick else None,  # Compiling all takes two minutes.
    )  # fmt: skip
    measured = assessment.measure(question, f'benchmark {path} {quick}')
    assessment.describe(question, measured, ledger.Tally(count, count))

  runs = {'evaluation': run_alone, 'assess': judge}
  for run in runs.values():
    run(_covering(formulas))
  wall: dict[str, list[float]] = {name: [] for name in runs}
  processor: dict[str, list[float]] = {name: [] for name in runs}
  for _ in range(1 if quick else TURNS):
    for name, run in runs.items():
      begun, spent = time.perf_counter(), time.process_time()
      run(formulas)
      wall[name].append(time.perf_counter() - begun)
      processor[name].append(time.process_time() - spent)
  return {
    'days_stocks': split.panel.mask.shape,
    'formulas': count,
    'seconds': {name: tools.summary(each) for name, each in wall.items()},
    'processor': {name: tools.summary(x) for name, x in processor.items()},
    'ratio': min(wall['assess']) / min(wall['evaluation']),
    'processor_ratio': min(processor['assess']) / min(processor['evaluation']),
  }


def _covering(formulas: list[Formula]) -> list[Formula]:
  """Formulas that together have all programs that any of them needs."""
  known, chosen = set(), []
  for formula in formulas:
    groups = {
      (node.symbol, str(node.args[-1]) if formula_lib.is_windowed(node) else '')
      for node in formula_lib.nodes(formula)
    }
    if not groups <= known:
      known |= groups
      chosen.append(formula)
  return chosen
