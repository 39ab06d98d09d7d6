"""The formulas of the benchmark: a second, beside the peer, and by operator."""

import importlib.util
import os
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.factor import evaluate, metrics, runtime
from alphajax.language.formula import Formula
from scripts.benchmark import tools, waves

# Of the store on an accelerator: what lies in it fits into 32-bit indices.
WAVES_BYTES = 6 << 30
MANY = 5000  # Formulas at once there.


def mean_ic(values, target):
  """What the store returns of a formula."""
  return jnp.mean(metrics.target_ic(values, target))


def evaluate_cold(
  panel, formulas, warm_up, repeats, budget, between=lambda: None
) -> dict:
  """Seconds from an empty store to the ICs, programs being compiled.

  `between` is called after every repetition.
  """
  label = panel_lib.forward_return(panel)
  target = metrics.make_target(label, jnp.asarray(panel.mask))
  start = time.perf_counter()
  evaluate.Store(panel, budget).map(warm_up, mean_ic, target)
  warm = time.perf_counter() - start
  print(f'{len(warm_up)} formulas, cold: {warm:.1f} s', file=sys.stderr)
  seconds = []
  for _ in range(repeats):
    store = evaluate.Store(panel, budget)
    # A bare feature: waits for the panel and makes no value.
    store.map([Formula('close')], mean_ic, target)
    start = time.perf_counter()
    ics = store.map(formulas, mean_ic, target)
    seconds.append(time.perf_counter() - start)
    rate = len(formulas) / seconds[-1]
    print(f'{len(formulas)} formulas, {rate:.0f} a second', file=sys.stderr)
    del store  # Before the next one is allocated.
    between()
  seconds = tools.summary(seconds)
  days, stocks = panel.mask.shape
  return {
    'days': days,
    'stocks': stocks,
    'formulas': len(formulas),
    'nodes': len(tools.distinct_nodes(formulas)),
    'warm_up_seconds': warm,
    'seconds': seconds,
    'formulas_per_s': len(formulas) / seconds['median'],
    'ics': np.asarray(ics).tolist(),
  }


def formula_part(quick: bool) -> dict:
  """Formulas a second of the store and of the peer, a subset of the same.

  They take turns. The ratio is that of the best times, of all formulas here
  and of each formula there: other work on the machine slows PyTorch's threads,
  which wait for each other, far more than ours.
  """
  panel = tools.synthetic(*tools.sizes(quick))
  count, subset = (40, 4) if quick else (1000, 100)
  formulas = tools.random_formulas(0, count, quick)
  others = tools.random_formulas(1, count, quick)
  in_waves = runtime.in_waves()
  budget = WAVES_BYTES if in_waves and not quick else tools.store_bytes(quick)
  chosen = formulas[:: count // subset]
  has_peer = importlib.util.find_spec('torch') is not None
  passes = []
  run_peer, peer = _peer(panel) if has_peer else (None, None)
  ours = evaluate_cold(
    panel,
    formulas,
    others,
    1 if quick else 3,
    budget,
    lambda: passes.append([run_peer(f) for f in chosen] if has_peer else []),
  )
  if in_waves:
    ours['waves'] = waves.waves_part(panel, formulas, mean_ic, budget)
    many = formulas if quick else tools.random_formulas(2, MANY, quick)
    ours['many'] = evaluate_cold(panel, many, others[:1], 2, budget)
    del ours['many']['ics']
    ours['profile'] = ours['waves'].pop('profile')
  else:
    ours['profile'] = _profile(panel, formulas, budget)
  ics = np.array(ours.pop('ics'))[:: count // subset]
  if not has_peer:
    return {'alphajax': ours, 'peer': None}
  seconds = np.array([[second for _, second in rows] for rows in passes])
  best, close = seconds.min(0), np.abs(ics - [ic for ic, _ in passes[0]]) < 1e-3
  peer |= {
    'formulas': subset,
    'formulas_per_s': {
      'best': subset / best.sum(),
      'median': subset / np.median(seconds.sum(1)),
    },
    # Of the mean time, from formula to formula.
    'relative_error': best.std() / best.mean() / subset**0.5,
    'same_ic': f'{close.sum()} of {subset}',
  }
  ratio = count / ours['seconds']['best'] / peer['formulas_per_s']['best']
  return {'alphajax': ours, 'peer': peer, 'ratio': ratio}


class _Timed(evaluate.Store):
  """A store that waits for every node and adds up the seconds by operator."""

  def __init__(self, *args):
    super().__init__(*args)
    self.rows = {}

  def add(self, name, count, start):
    row = self.rows.setdefault(name, {'name': name, 'count': 0, 'seconds': 0.0})
    row['count'] += count
    row['seconds'] += time.perf_counter() - start

  def _run(self, node):
    start = time.perf_counter()
    value = jax.block_until_ready(super()._run(node))
    self.add(self.graph.groups[node][0], 1, start)
    return value


def _profile(panel, formulas, budget) -> list[dict]:
  """Seconds by operator, one node after the other, and of the ICs.

  More nodes than there are distinct ones: the store forgets some.
  """
  store = _Timed(panel, budget)
  target = metrics.make_target(
    panel_lib.forward_return(panel), jnp.asarray(panel.mask)
  )
  for formula in formulas:
    store.take([formula])
    start = time.perf_counter()
    store.map([formula], mean_ic, target)
    store.add('IC', 1, start)
  return sorted(store.rows.values(), key=lambda row: -row['seconds'])


def _peer(panel):
  """The PyTorch evaluator: (formula -> (mean IC, seconds), what it is)."""
  import torch

  from scripts.benchmark import peer_torch  # PyTorch is optional.

  torch.set_num_threads(len(os.sched_getaffinity(0)))
  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  planes = torch.tensor(np.asarray(panel.features), device=device)
  features = dict(zip(panel.feature_names, planes, strict=True))
  members = torch.tensor(panel.mask, device=device)
  label = np.asarray(panel_lib.forward_return(panel))
  label = torch.tensor(label, device=device)

  def run(formula):
    start = time.perf_counter()
    values = peer_torch.evaluate(formula, features, members)
    ic = float(peer_torch.daily_ic(values, label, members).mean())
    return ic, time.perf_counter() - start

  run(Formula('close'))
  return run, {
    'device': device,
    'threads': torch.get_num_threads(),
    'version': torch.__version__,
  }
