"""No look-ahead: changing every input after day t changes nothing up to t."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

from alphajax.data import panel as panel_lib
from alphajax.factor import evaluate, operators
from alphajax.language import grammar as grammar_lib
from alphajax.language import vocab

T, S = 200, 24
DAYS = (0, 45, 118, 198)  # After day 198 one day is left to change.


def assert_same_bits(actual, expected):
  """Equal float32 bit patterns; all NaNs count as one."""
  actual, expected = np.asarray(actual), np.asarray(expected)
  np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
  known = ~np.isnan(expected)
  np.testing.assert_array_equal(
    actual[known].view(np.uint32), expected[known].view(np.uint32)
  )


def messy():
  """Features `f32[F, T, S]` with their names, and members."""
  features, members = oracle.messy_panel(3, T, S)
  members[:, :2] = False  # Few lie side by side: one program for all universes.
  stacked = np.stack(list(features.values())).astype(np.float32)
  return stacked, members, tuple(features)


def change_after(day, features, members):
  """Other numbers, other gaps, infinities and another universe after `day`."""
  rng = np.random.default_rng(day)
  after = np.arange(T) > day
  other = np.exp(rng.normal(0, 8, features.shape)).astype(np.float32)
  other *= rng.choice([-1, 1], other.shape)
  other[rng.random(other.shape) < 0.2] = np.nan
  other[rng.random(other.shape) < 0.02] = np.inf
  universe = rng.random(members.shape) < 0.5
  return (
    np.where(after[:, None], other, features),
    np.where(after[:, None], universe, members),
  )


def cases():
  for name in vocab.OPERATORS:
    for window in (2, 20, 40) if name in oracle.WINDOWED else (None,):
      yield name, window


@np.errstate(invalid='ignore')
def operands_of(name, planes):
  """What the operator takes, of features `[F, T, S]`."""
  # volume; open, close; open, close, volume.
  chosen = ((4,), (0, 3), (0, 3, 4))[oracle.arity(name) - 1]
  operands = [planes[i] for i in chosen]
  slots = vocab.SLOTS[vocab.OPERATORS[name].kind]
  for place, slot in enumerate(slots[: len(operands)]):
    size = np.abs(operands[place])
    if slot == 'level':
      operands[place] = size % 1
      operands[place][:10] = 0.8
    if slot == 'group':  # A handful of codes.
      operands[place] = np.round(size) % 5
    if name == 'Product':  # That of 40 volumes is out of range.
      operands[place] = size ** np.float32(0.01)
    if slot == 'condition':
      operands[place] = np.floor(size) % 2
  return operands


@pytest.mark.parametrize('name, window', list(cases()))
def test_operators_see_no_future(name, window):
  features, members, _ = messy()

  def run(planes, mask):
    operands = [jnp.asarray(x) for x in operands_of(name, planes)]
    return np.asarray(
      operators.apply(name, operands, window, jnp.asarray(mask))
    )

  cases = [(features, members)]
  cases += [change_after(day, features, members) for day in DAYS]
  if name in operators.CROSS_SECTIONAL:
    before, *others = (run(*case) for case in cases)
  else:  # Stock by stock: all in one call.
    planes, masks = zip(*cases, strict=True)
    together = run(np.concatenate(planes, 2), np.concatenate(masks, 1))
    before, *others = np.split(together, len(cases), 1)
  assert np.isfinite(before).any()
  changed = False
  for day, after in zip(DAYS, others, strict=True):
    assert_same_bits(after[: day + 1], before[: day + 1])
    changed |= not np.array_equal(after, before, equal_nan=True)
  assert changed, 'nothing that the operator reads was changed'


def test_formulas_see_no_future():
  features, members, names = messy()
  grammar = grammar_lib.make('sem_k', max_length=10)
  drawn = grammar_lib.random_formulas(grammar, jax.random.key(4), 1500)
  formulas = sorted(set(drawn), key=lambda f: (-len(str(f)), str(f)))[:200]
  assert len(formulas) == 200

  def run(planes, mask):
    panel = panel_lib.Panel(
      features=jnp.asarray(planes),
      mask=jnp.asarray(mask),
      dates=tuple(
        str(np.datetime64('2015-01-01') + np.timedelta64(day, 'D'))
        for day in range(T)
      ),
      symbols=tuple(f's{i}' for i in range(S)),
      feature_names=names,
    )
    return np.asarray(evaluate.values(formulas, panel))

  before = run(features, members)
  alive = np.isfinite(before).any((1, 2))
  assert alive.mean() > 0.5
  changed = np.zeros(len(formulas), bool)
  for day in DAYS:
    after = run(*change_after(day, features, members))
    assert_same_bits(after[:, : day + 1], before[:, : day + 1])
    same = (after == before) | (np.isnan(after) & np.isnan(before))
    changed |= ~same.all((1, 2))
  assert (changed | ~alive).mean() > 0.9, 'the future was hardly changed'
