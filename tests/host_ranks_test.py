"""Sorting days ranks to the same bits as comparing all pairs."""

import jax.numpy as jnp
import numpy as np
import oracle
import pytest

from alphajax.data import panel as panel_lib
from alphajax.data import universe as universe_lib
from alphajax.factor import evaluate, host_ranks, operators, runtime
from alphajax.language import formula as formula_lib

T, S = 2 * host_ranks.DAYS + 5, 50


def planes(rng):
  """Values without ties, with many, with every special one."""
  x = rng.normal(size=(T, S)).astype(np.float32)
  special = rng.choice(
    np.array([0.0, -0.0, np.nan, 1e-40, -1e-40, 3e38, -3e38], np.float32),
    (T, S),
  )
  holed = np.where(rng.random((T, S)) < 0.2, np.float32(np.nan), x)
  holed[7] = np.nan
  return {
    'distinct': x,
    'level': np.round(x),
    'special': special,
    'holed': holed,
    'constant': np.ones_like(x),
  }


@pytest.mark.parametrize('share', [1.0, 0.5, 0.0])
def test_the_same_bits(share):
  rng = np.random.default_rng(0)
  members = rng.random((T, S)) < share
  members[3] = False
  universe = universe_lib.make(members)
  assert (universe.columns is None) == (share == 1.0)
  for name, x in planes(rng).items():
    expected = np.asarray(operators.cs_rank(jnp.asarray(x), universe))
    found = host_ranks.cs_rank(x, universe)
    np.testing.assert_array_equal(
      found.view(np.int32)[~np.isnan(found)],
      expected.view(np.int32)[~np.isnan(expected)],
      err_msg=name,
    )
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected), name)


def test_ranks_are_average_ranks():
  x = np.array([[3.0, 1.0, 3.0, np.nan, 0.0, -0.0, 9.0]], np.float32)
  members = np.array([[True] * 6 + [False]])
  found = host_ranks.cs_rank(x, universe_lib.make(members))
  np.testing.assert_allclose(
    found, [[4.5 / 5, 3 / 5, 4.5 / 5, np.nan, 1.5 / 5, 1.5 / 5, np.nan]]
  )


def test_a_store_sorts_large_markets_alone(monkeypatch):
  features, members = oracle.messy_panel(3, T, S)
  dates = np.arange('2018-01-01', T, dtype='datetime64[D]').astype(str)
  panel = panel_lib.make(
    np.stack(list(features.values())), members, dates,
    [f's{i}' for i in range(S)],
  )  # fmt: skip
  formulas = [
    formula_lib.parse(text)
    for text in ('CSRank(close)', 'CSRank(Sub(close,Ref(close,5)))',
                 'Mean(CSRank(volume),5)', 'CSRank(CSRank(vwap))')
  ]  # fmt: skip
  assert runtime.host_operator('CSRank', host_ranks.LEAST_MEMBERS - 1) is None
  assert runtime.host_operator('Scale', 10_000) is None
  compared = evaluate.values(formulas, panel)
  monkeypatch.setattr(host_ranks, 'LEAST_MEMBERS', 1)
  calls, rank = [], host_ranks.cs_rank

  def counted(x, universe):
    calls.append(x.shape)
    return rank(x, universe)

  monkeypatch.setattr(host_ranks, 'cs_rank', counted)
  np.testing.assert_array_equal(evaluate.values(formulas, panel), compared)
  assert calls == [(T, S)] * 5
