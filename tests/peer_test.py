"""The benchmark's PyTorch peer, a second opinion on operators and IC.

Both sides are float32 and agree within the rounding of two formulations; how
close alphajax is to the truth is for the float64 oracle to say.
"""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from operators_test import UNITS, S, T, cases, operands_of, run, spread_of

from alphajax.data.panel import Panel
from alphajax.factor import evaluate, metrics
from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib

torch = pytest.importorskip(
  'torch', reason='PyTorch, which the requirements do not name, is missing'
)
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from scripts.benchmark import peer_torch as peer  # noqa: E402

# Side by side in one plane. Where windows are constant, float32 leaves noise
# that differs from formulation to formulation: only NaN is compared there.
KINDS = ('returns', 'prices', 'volume', 'missing', 'ties')
NOISY = 'constant'
TOLERANCE = 1e-3  # Of the day's spread; the peer is a plain two-pass float32.
ROUNDING = 1e-5


def side_by_side(count):
  """Planes `f32[T, kinds x S]` and members."""
  blocks = [operands_of(kind, count) for kind in (*KINDS, NOISY)]
  planes = [np.concatenate([b[0][i] for b in blocks], 1) for i in range(count)]
  return planes, np.concatenate([members for _, members in blocks], 1)


@pytest.mark.parametrize(
  'name, window', [case for case in cases() if case[1] in (None, 20, 40)]
)
def test_operator_equals_peer(name, window):
  planes, members = side_by_side(oracle.arity(name))
  expected = peer.apply(
    name, [torch.tensor(x) for x in planes], window, torch.tensor(members)
  )
  assert expected.dtype == torch.float32
  expected, actual = expected.numpy(), run(name, planes, window, members)
  np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
  for i, kind in enumerate(KINDS):
    block = slice(i * S, (i + 1) * S)
    allowed = TOLERANCE * spread_of(expected[:, block]) + ROUNDING * np.maximum(
      np.abs(expected[:, block]), UNITS.get(name, 0)
    )
    error = np.abs(actual - expected)[:, block]
    off = np.argwhere(error > allowed)[:3].tolist()
    assert not off, f'{name} on {kind}: first off at {off}'


def test_window_longer_than_the_data_is_missing():
  x = torch.ones(30, 4)
  for name in ('Mean', 'Med', 'Ref', 'Delta', 'Std'):
    assert peer.apply(name, [x], 40, None).isnan().all()


def messy_market():
  features, members = oracle.messy_panel(3, T, 40)
  target = np.full(members.shape, np.nan, np.float32)
  target[:-20] = features['close'][20:] / features['close'][:-20] - 1
  return features, members, target


def test_daily_ic_equals_metrics():
  features, members, target = messy_market()
  for plane in features.values():
    expected = metrics.daily_ic(
      jnp.asarray(plane, jnp.float32), jnp.asarray(target), jnp.asarray(members)
    )
    actual = peer.daily_ic(
      torch.tensor(plane, dtype=torch.float32),
      torch.tensor(target),
      torch.tensor(members),
    )
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-5)


def test_random_formulas_have_the_same_ic():
  """What the benchmark compares; a few ill-conditioned ones may differ."""
  features, members, target = messy_market()
  panel = Panel(
    features=jnp.asarray(np.stack(list(features.values())), jnp.float32),
    mask=jnp.asarray(members),
    dates=tuple(
      str(np.datetime64('2015-01-01') + np.timedelta64(day, 'D'))
      for day in range(T)
    ),
    symbols=tuple(f's{i}' for i in range(members.shape[1])),
  )
  grammar = grammar_lib.make('sem_k', max_length=10)
  drawn = grammar_lib.random_formulas(grammar, jax.random.key(3), 200)
  formulas = list({formula_lib.key(f): f for f in drawn if f.args}.values())
  planes = {
    name: torch.tensor(plane, dtype=torch.float32)
    for name, plane in features.items()
  }
  ours = metrics.daily_ic(
    evaluate.values(formulas, panel), jnp.asarray(target), panel.mask
  )
  same = 0
  for formula, expected in zip(formulas, np.asarray(ours), strict=True):
    values = peer.evaluate(formula, planes, torch.tensor(members))
    actual = peer.daily_ic(values, torch.tensor(target), torch.tensor(members))
    same += abs(float(actual.mean()) - expected.mean()) < 1e-3
  assert len(formulas) > 60
  assert same >= 0.95 * len(formulas)
