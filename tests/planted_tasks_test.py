"""Planted tasks: against cells, what is held out, noise as real panels have."""

import functools
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from alphajax import markets
from alphajax.data import market as market_lib
from alphajax.data import panel as panel_lib
from alphajax.language import formula as formula_lib
from alphajax.methods import (
  formula_tokens,
  hidden_signals,
  planted_tasks,
  task_bank,
)
from alphajax.methods.formula_tokens import Formulas, Pool, Setting
from alphajax.search import kernel

HERE = pathlib.Path(__file__).resolve().parents[1]
FOLDER = pathlib.Path(
  os.environ.get('ALPHAJAX_DATA', HERE.parent / 'shared' / 'data')
)
SIZES = planted_tasks.Sizes(
  anchors=8, pool=4, tried=3, retrieved=4, scored=4, references=2
)
BAGS = jnp.asarray(np.arange(24 * 3).reshape(24, 3) % 4, jnp.float32)
# One of each kind: levels, changes, ranges, volumes, what both say.
TEXTS = (
  'close/Mean(close,20)', 'Std(volume,20)/Mean(volume,20)', 'vwap/close',
  'Corr(close,volume,20)', 'high/low', 'Delta(close,10)/close', 'volume',
  'Max(high,40)/close', 'CSRank(Delta(volume,10))', 'Mean(high/low,10)',
  'Corr(high,volume,10)', 'close', 'Delta(vwap,40)/vwap', 'open/close',
  'Skew(close,20)', 'Mean(volume,5)/Mean(volume,40)', 'Min(low,20)/close',
  'Std(close,30)/close', 'Corr(open,volume,40)', 'low/open', 'Kurt(volume,20)',
  'Delta(volume,20)/volume', 'Ref(close,20)/Ref(close,40)', 'WMA(vwap/open,10)',
)  # fmt: skip


@pytest.fixture(scope='module')
def made():
  """(sample, cross-sections, bank, sequences) of a small market."""
  config = tiny.get_config('pretraining')
  split = markets.load_market(config)[0].train
  formulas = [formula_lib.parse(text) for text in TEXTS]
  sample = task_bank.sample(split, 30, 60, 4)
  rows, facts = task_bank.look(sample, formulas)
  bank = task_bank.make(
    [(sample, rows, facts, np.asarray(split.target))], formulas,
    np.arange(10), seed=0, draws=16, horizons=(5,),
    label=markets.label_spec(config), held_share=0.3,
  )  # fmt: skip
  n = np.arange(24)  # All differ.
  sequences = jnp.asarray(np.stack([n % 5, n // 5, *[n * 0 + 1] * 4], 1))
  return sample, rows, bank, sequences


@functools.partial(jax.jit, static_argnames='held_out')
def draw_all(keys, bank, sequences, stage, held_out):
  return jax.vmap(
    lambda key: planted_tasks.make(
      key, bank, hidden_signals.stage(stage), SIZES, sequences, BAGS, held_out
    )
  )(keys)


def many(bank, sequences, stage=3, held_out=False):
  keys = jax.random.split(jax.random.key(1), 300)
  return jax.device_get(draw_all(keys, bank, sequences, stage, held_out))


@pytest.fixture(scope='module')
def tasks(made):
  _, _, bank, sequences = made
  return many(bank, sequences)


def test_ics_of_tasks_are_those_of_cells(made):
  """Of labels that are made of cells, for a task in so many."""
  sample, rows, bank, _ = made
  rng = np.random.default_rng(0)
  scale = task_bank.scale_of(rows)
  z = rows.astype(np.float64) * scale[:, None, None]
  noise = rng.normal(size=z.shape[1:])
  noise -= noise.mean(-1, keepdims=True)
  noise /= np.linalg.norm(noise, axis=-1, keepdims=True)

  def by_blocks(daily):
    return np.stack(
      [daily[:, sample.blocks == b].mean(1) for b in range(4)]
    )  # [B, N]

  of_noise = by_blocks(np.einsum('nds,ds->nd', z, noise))

  @jax.jit
  def draw(key, bank):
    stage = hidden_signals.stage(3)
    return hidden_signals.draw_signal(key, bank, stage, 0, False)

  all_draws = np.asarray(bank.noise)[0]
  compared = 0
  for n in range(0, 12, 4):
    signal = jax.device_get(draw(jax.random.key(n), bank))
    c, weights = float(signal.ceiling), signal.block_weights
    per_day = weights[sample.blocks]  # [D, H]
    hidden = np.einsum('dh,hds->ds', per_day, z[signal.hidden])
    norm = np.linalg.norm(hidden, axis=-1, keepdims=True)
    hidden /= np.where(norm > 0, norm, 1.0)
    label = c * hidden + np.sqrt(1 - c**2) * noise
    expected = by_blocks(np.einsum('nds,ds->nd', z, label))
    draws = all_draws[signal.draw, np.arange(4)]
    found = signal.observed - float(signal.loudness) * draws
    found = found + np.sqrt(1 - c**2) * of_noise
    assert np.abs(found - expected).mean() < 0.002
    compared += c > 0.02
  assert compared > 1


def test_what_is_held_out_is_nowhere(made, tasks):
  _, _, bank, sequences = made
  held = np.asarray(bank.held)
  assert 3 <= held.sum() <= 20 and not held[np.asarray(bank.probes)].any()
  used = tasks.weights != 0
  assert not held[tasks.hidden[used]].any()
  assert not held[tasks.evaluated[tasks.used]].any()
  assert not np.isfinite(tasks.targets[:, held]).any()
  assert not held[tasks.scored].any()
  assert (tasks.worth[:, held] == -1).all()
  # Nor is anything like them, and of the judged tasks they are what is hidden.
  like = np.abs(np.asarray(bank.mean[0], np.float32))
  assert like[held][:, ~held].max() <= task_bank.TWINS
  judged = many(bank, sequences, held_out=True)
  assert held[judged.hidden[judged.weights != 0]].all()
  assert (judged.weights != 0).any(1).all()


def test_candidates_are_read_as_what_is_retrieved(tasks):
  """The last ones scored are those, and their rows are of the set too."""
  rows = tasks.inputs.tokens[:, -SIZES.retrieved :]
  candidates = tasks.candidates
  assert candidates.token.shape[1] == SIZES.scored + SIZES.retrieved
  np.testing.assert_allclose(
    candidates.token[:, -SIZES.retrieved :], rows, atol=1e-5
  )
  scored = tasks.scored[:, -SIZES.retrieved :]
  worth = np.take_along_axis(tasks.worth, scored, 1)
  expected = candidates.expected[:, -SIZES.retrieved :] * formula_tokens.GAIN
  free = worth >= 0  # Others fill up where few are free.
  np.testing.assert_allclose(expected[free], worth[free], atol=1e-6)
  bags = np.asarray(BAGS)[tasks.scored]
  np.testing.assert_array_equal(candidates.bag, bags)


def test_all_are_scored_of_judged_tasks(made):
  _, _, bank, sequences = made
  judged = many(bank, sequences, held_out=True)
  assert (judged.scored == np.arange(24)).all()
  known = np.zeros(24, bool)
  known[judged.evaluated[0][judged.used[0]]] = True
  assert (judged.worth[0][known] == -1).all()
  assert (judged.worth[0][~known] >= 0).all()  # What is held out, too.
  assert known[judged.pool[0][judged.in_pool[0]]].all()
  # But no library has what is held out: it is neither read nor copied.
  held = np.asarray(bank.held)
  rows = np.asarray(sequences)
  copied = judged.inputs.formulas[:, :, None] == rows[held]
  own = judged.inputs.formulas[:, :, None] == rows[~held]
  assert own.all(-1).any(-1).all()
  assert not copied.all(-1).any()


def test_tasks_without_signal(tasks):
  silent = tasks.ceiling == 0
  assert 0.05 < silent.mean() < 0.16
  assert np.abs(tasks.gains[silent]).max() < 1e-6
  assert (tasks.gains[~silent].max(1) > 1e-3).mean() > 0.8
  loud = (tasks.ceiling > 0.12).mean()
  assert 0.04 < loud < 0.17 and tasks.ceiling.max() <= 0.4
  # The noise is there all the same.
  assert np.abs(tasks.observed[silent]).mean() > 0.005


def test_a_curriculum_begins_with_one_short_formula(made):
  _, _, bank, sequences = made
  tasks = many(bank, sequences, stage=0)
  assert ((tasks.weights != 0).sum(1) == 1).all()
  first = tasks.hidden[:, 0]
  assert np.asarray(bank.size)[first].max() <= 5
  loud = tasks.ceiling[tasks.ceiling > 0]
  assert loud.min() >= 0.08 and loud.max() <= 0.4
  key = jax.random.key(0)
  ends = [float(hidden_signals.stage_of(key, x).last) for x in (0.0, 0.99)]
  assert ends == [0.0, 1.0]


def test_gains_are_those_of_a_regression(made, tasks):
  """With the real ICs: of the hidden formulas with their mean weights."""
  _, _, bank, _ = made
  gram = np.asarray(bank.gram[0], np.float64)
  mean = np.asarray(bank.mean[0], np.float64)
  checked = 0
  for n in range(40):
    weights, hidden = tasks.weights[n].astype(float), tasks.hidden[n]
    rows = gram[:, hidden]
    power = np.einsum('h,bhk,k->b', weights, rows[:, :, hidden], weights)
    clean = np.einsum('h,bhn->bn', weights, rows) / np.sqrt(power)[:, None]
    ics = tasks.ceiling[n] * clean.mean(0)
    pool = np.asarray(tasks.inputs.tokens[n])
    pool = pool[10:14][tasks.inputs.mask[n, 10:14]]
    if len(pool) or not tasks.ceiling[n]:
      continue
    # Of no pool the gain is the IC itself, but for what was evaluated.
    np.testing.assert_allclose(tasks.gains[n], np.abs(ics), atol=2e-4)
    assert tasks.value[n] <= np.abs(ics).max() + 2e-4
    checked += 1
  assert checked > 0 and np.allclose(np.diag(mean), 1, atol=2e-3)


def test_gain_beside_a_pool():
  rng = np.random.default_rng(1)
  rows = rng.normal(size=(12, 6)) @ rng.normal(size=(6, 80))
  rows += rng.normal(size=(12, 80))
  rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  label = rng.normal(size=80)
  label /= np.linalg.norm(label)
  ics, gram = rows @ label, rows @ rows.T

  def fitted(chosen):
    fit, *_ = np.linalg.lstsq(rows[chosen].T, label, rcond=None)
    return np.linalg.norm(rows[chosen].T @ fit)

  slots = np.array([2, 5, 0, 0])
  pool = Pool(
    gram[np.ix_(slots, slots)],
    np.repeat(ics[slots, None], 3, 1),
    np.arange(4) < 2,
  )
  gains, before = formula_tokens.gain(ics, gram[:, slots], pool)
  assert float(before) == pytest.approx(fitted([2, 5]), rel=0.02)
  others = [i for i in range(12) if i not in (2, 5)]
  expected = [fitted([2, 5, i]) - fitted([2, 5]) for i in others]
  np.testing.assert_allclose(np.asarray(gains)[others], expected, atol=0.01)
  assert np.asarray(gains)[[2, 5]].max() < 0.01


def test_regression_is_that_of_retrieval():
  """Whatever is in rows that are not used."""
  rng = np.random.default_rng(2)
  rows = rng.normal(size=(9, 30)) / 30**0.5
  gram, blocks = rows @ rows.T, 0.05 * rng.normal(size=(9, 5))
  used = np.arange(9) < 6
  fit = jax.jit(formula_tokens.regress)(gram, blocks, used, 0.3)
  part = gram[:6, :6]
  expected = kernel.predict(part, gram[:, :6], blocks[:6], 0.3)
  np.testing.assert_allclose(gram @ fit.alpha, expected, atol=1e-6)
  trust = kernel.trust(part, blocks[:6], 0.3)
  assert float(fit.trust) == pytest.approx(trust, abs=1e-5)


def formulas_of(rng, count=7):
  return Formulas(
    blocks=np.asarray(0.03 * rng.normal(size=(count, 4)), np.float32),
    behaviour=np.asarray(rng.uniform(-1, 1, (count, 8)), np.float32),
    with_pool=np.asarray(rng.uniform(-0.5, 0.5, (count, 3)), np.float32),
    facts=np.ones((count, 2), np.float32),
    size=np.arange(count, dtype=np.float32),
    weight=np.asarray(0.02 * rng.normal(size=count), np.float32),
    kind=np.arange(count, dtype=np.int32) % 4,
    mask=np.arange(count) < count - 1,
  )


def embed(formulas, pool):
  setting = Setting(*np.array([0.1, 0.0, 20.0, 30.0, 0.4], np.float32))
  references = np.zeros((2, 5), np.int32)
  read = formula_tokens.inputs(formulas, pool, setting, references)
  return jax.device_get(read)


def test_tokens_know_no_order_and_a_label_turned_around():
  rng = np.random.default_rng(3)
  formulas = formulas_of(rng)
  pool = Pool(
    np.eye(3, dtype=np.float32),
    np.asarray(0.04 * rng.normal(size=(3, 4)), np.float32), np.arange(3) < 2,
  )  # fmt: skip
  found = embed(formulas, pool)
  assert found.tokens.shape == (7, formula_tokens.width(8, 4))
  order = rng.permutation(7)
  other = embed(jax.tree.map(lambda x: x[order], formulas), pool)
  np.testing.assert_allclose(other.tokens, found.tokens[order], atol=1e-6)
  np.testing.assert_allclose(other.context, found.context, atol=1e-5)
  # Of the pool too.
  slots = np.array([1, 0, 2])
  moved = formulas._replace(with_pool=formulas.with_pool[:, slots])
  other = embed(moved, Pool(pool.within, pool.blocks[slots], pool.used))
  np.testing.assert_allclose(other.tokens, found.tokens, atol=1e-6)
  turned = embed(
    formulas._replace(blocks=-formulas.blocks, weight=-formulas.weight),
    pool._replace(blocks=-pool.blocks),
  )
  change = turned.tokens / np.where(found.tokens == 0, 1.0, found.tokens)
  sign = np.ones(formula_tokens.width(8, 4))
  sign[8:12] = sign[[12, 14, 15, 17, 19, 23]] = -1  # ICs, t, weights.
  there = found.tokens != 0
  expected = np.broadcast_to(sign, there.shape)
  np.testing.assert_allclose(change[there], expected[there], atol=1e-4)
  assert not found.tokens[-1].any()  # What is masked.


def test_noise_is_calibrated_to_the_panel(made):
  sample, rows, bank, _ = made
  config = tiny.get_config('pretraining')
  split = markets.load_market(config)[0].train
  errors = task_bank.own_error(sample, rows, np.asarray(split.target), 4)
  spread = np.asarray(bank.noise)[0].mean(1).std(0)
  ratio = np.median((errors / spread)[:10])
  assert 0.6 < ratio < 1.7


def test_too_few_days():
  config = tiny.get_config('pretraining')
  split = markets.load_market(config)[0].train
  scored = np.zeros(len(split.scored), bool)
  scored[-7:] = True
  with pytest.raises(ValueError, match='7 scored days: expected at least 8'):
    task_bank.sample(split.replace(scored=scored), 10, 60, 4)


def test_noise_is_as_uncertain_as_a_real_panel(tmp_path):
  """Standard errors of mean ICs, by draws of noise and by the real days."""
  path = FOLDER / 'cn_csi300.parquet'
  if not path.is_file():
    pytest.skip(f'no file {path}; set ALPHAJAX_DATA')
  panel = market_lib.load(
    path, cache_dir=tmp_path, start='2010-01-01', end='2017-12-31', warmup=100
  )
  split = panel_lib.split(
    panel, 'train', '2010-01-01', '2017-12-31', lookback=100
  )
  formulas = [formula_lib.parse(text) for text in TEXTS]
  sample = task_bank.sample(split, 300, 480, 8)
  rows, _ = task_bank.look(sample, formulas)
  noise, _ = task_bank.noise_ics(
    sample, rows, 0, 96, (20,), panel_lib.PAPER_LABEL
  )
  place = {name: s for s, name in enumerate(split.panel.symbols)}
  columns = [place[name] for name in sample.panel.symbols]
  errors = task_bank.own_error(
    sample, rows, np.asarray(split.target)[:, columns], 19
  )
  spread = noise.mean(1).std(0) * task_bank.calibrated(noise, errors)
  assert (np.abs(spread / errors - 1) < 0.25).mean() >= 0.8
