"""What planted tasks are made of: a panel, seen through formulas.

A task's label is a weighted sum of formulas in noise. Its ICs follow from the
correlations among formulas and from ICs of noise, block of days by block of
days, so that no cell of the panel is touched once they are known.

The noise is the panel's own returns, taken from other days, with signs at
random: it keeps their tails, what stocks have in common and the overlap of the
labels, and so a mean IC is as uncertain as a real one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.analysis import behaviour
from alphajax.data import panel as panel_lib
from alphajax.data.panel import LabelSpec, Split
from alphajax.factor import evaluate, metrics
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula

SHIFT = 200  # Days that noise is shifted by, at least,
SIGN_DAYS = 60  # and days of a sign of it.
LAG = 5  # Days of the correlation of a factor with itself.
TWINS = 0.97  # Of a formula held out nothing more alike is trained on,
CLUSTER = 0.9  # and of so many alike each is drawn that much less often.
# A panel's own error may call for noise larger or smaller than its returns
# shifted, by up to so much.
CALIBRATION = 1.6
CHUNK = 256  # Formulas evaluated at a time,
STORE_BYTES = 1 << 28  # and what values of their parts may take,
LEAST_PLANES = 16  # room for so many at least.


class Sample(NamedTuple):
  """Stocks and days of a split that formulas are looked at on.

  blocks: the block of each of the days.
  scored: how many days the split scores, of which `days` are a part.
  """

  store: evaluate.Store
  panel: panel_lib.Panel
  members: jax.Array  # bool[T, S]
  days: np.ndarray  # i[D], positions in the panel
  blocks: np.ndarray  # i[D]
  scored: np.ndarray  # i[scored days]


class Bank(NamedTuple):
  """What tasks are drawn from: N formulas on M panels.

  gram: correlations in every block of days; `mean` over blocks.
  noise: ICs of K draws of noise in every block.
  facts: coverage and autocorrelation of every formula on every panel.
  size: nodes of a formula; `log_weight`: of being hidden in a task.
  held: never hidden, a target or in a pool, unless the task is held out.
  probes: positions, in the order in which they are evaluated; the first of
    them are the anchors.
  panels: logarithms of days / 1000 and of stocks / 300.
  horizons: days of the label of a draw of noise.
  """

  gram: jax.Array  # f16[M, B, N, N]
  mean: jax.Array  # f16[M, N, N]
  noise: jax.Array  # f32[M, K, B, N]
  facts: jax.Array  # f32[M, N, 2]
  size: jax.Array  # f32[N]
  log_weight: jax.Array  # f32[N]
  held: jax.Array  # bool[N]
  probes: jax.Array  # i32[P]
  panels: jax.Array  # f32[M, 2]
  horizons: jax.Array  # f32[K]


def sample(split: Split, stocks: int, days: int, blocks: int) -> Sample:
  """The stocks longest members, and days evenly spaced among those scored.

  Raises:
    ValueError: fewer days than two a block.
  """
  scored = np.flatnonzero(split.scored)
  if len(scored) < 2 * blocks:
    raise ValueError(
      f'split {split.name!r} has {len(scored)} scored days: expected at least '
      f'{2 * blocks} to tell {blocks} blocks of them apart'
    )
  mask = np.asarray(split.panel.mask)
  longest = np.argsort(-mask[scored].sum(0), kind='stable')[:stocks]
  names = [split.panel.symbols[i] for i in np.sort(longest).tolist()]
  panel = panel_lib.take_symbols(split.panel, names)
  count = min(days, len(scored))
  chosen = np.linspace(0, len(scored) - 1, count).round().astype(int)
  chosen = scored[np.unique(chosen)]
  parts = np.array_split(np.arange(len(chosen)), blocks)
  plane = 4 * panel.mask.size
  return Sample(
    store=evaluate.Store(panel, max(STORE_BYTES, LEAST_PLANES * plane)),
    panel=panel,
    members=jnp.asarray(panel.mask),
    days=chosen,
    blocks=np.concatenate([np.full(len(p), b) for b, p in enumerate(parts)]),
    scored=scored,
  )


def look(
  sample: Sample, formulas: Sequence[Formula]
) -> tuple[np.ndarray, np.ndarray]:
  """Cross-sections f16[N, D, S], see `behaviour.unit`, and facts f32[N, 2]."""
  days = jnp.asarray(sample.days)
  parts = [
    sample.store.map(
      formulas[n : n + CHUNK], _look, sample.members, days
    )
    for n in range(0, len(formulas), CHUNK)
  ]  # fmt: skip
  rows, facts = zip(*parts, strict=True)
  return np.concatenate(rows), np.concatenate(facts)


def _look(values, members, days):
  rows = behaviour.unit(values, members, days)
  return rows.astype(jnp.float16), facts_of(values, members, days)


def facts_of(
  values: jax.Array, members: jax.Array, days: jax.Array
) -> jax.Array:
  """Coverage of the members, and correlation with itself `LAG` days before.

  Shapes `[T, S], [T, S], [D] -> [2]`.
  """
  known = members[days] & jnp.isfinite(values[days])
  coverage = jnp.sum(known) / jnp.maximum(jnp.sum(members[days]), 1)
  now = behaviour.unit(values, members, days)
  before = behaviour.unit(values, members, jnp.maximum(days - LAG, 0))
  return jnp.stack([coverage, jnp.sum(now * before) / len(days)])


def block_grams(rows: np.ndarray, blocks: np.ndarray) -> np.ndarray:
  """Mean daily correlations in every block, f16[B, N, N].

  A formula's own over all days is 1, though it has no value on some.

  Args:
    rows: f16[N, D, S].
    blocks: i[D].
  """
  grams = []
  for block in range(blocks[-1] + 1):
    part = _block(rows, blocks, block)
    grams.append(part @ part.T / np.float32(np.sum(blocks == block)))
  gram = np.stack(grams)
  norm = scale_of(rows)
  return (gram * norm[:, None] * norm).astype(np.float16)


def scale_of(rows: np.ndarray) -> np.ndarray:
  """What cross-sections are multiplied by for a mean power of 1, f32[N]."""
  power = np.array([np.sum(np.square(row.astype(np.float32))) for row in rows])
  power = power / rows.shape[1]
  return np.where(power > 0, 1 / np.sqrt(np.where(power > 0, power, 1)), 0)


def _block(rows, blocks, block) -> np.ndarray:
  part = rows[:, blocks == block].astype(np.float32)
  return part.reshape(len(rows), -1)


def noise_ics(
  sample: Sample,
  rows: np.ndarray,
  seed: int,
  count: int,
  horizons: Sequence[int],
  label: LabelSpec,
) -> tuple[np.ndarray, np.ndarray]:
  """ICs of formulas with draws of noise in every block.

  Args:
    sample: of a split.
    rows: f16[N, D, S] of the formulas.
    seed: of the draws.
    count: K.
    horizons: days of the labels, one after the other of the draws.
    label: whose entry and price are kept.

  Returns:
    f32[K, B, N], and the horizon of every draw, i[K].
  """
  rng = np.random.default_rng(seed)
  labels = {h: _returns(sample.panel, label, h) for h in horizons}
  horizon = np.array([horizons[k % len(horizons)] for k in range(count)])
  drawn = np.stack(
    [draw_noise(sample, labels[h], rng) for h in horizon.tolist()]
  )
  norm = scale_of(rows)
  parts = []
  for block in range(sample.blocks[-1] + 1):
    days = sample.blocks == block
    noise = drawn[:, days].reshape(count, -1).astype(np.float32)
    ics = noise @ _block(rows, sample.blocks, block).T / np.sum(days)
    parts.append(ics * norm)
  return np.stack(parts, 1).astype(np.float32), horizon


def _returns(panel, label: LabelSpec, horizon: int) -> np.ndarray:
  spec = LabelSpec(label.entry, label.entry + horizon, label.price)
  return np.asarray(panel_lib.forward_return(panel, spec))


def draw_noise(
  sample: Sample, label: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
  """Labels of other days, f16[D, S], of mean 0 and length 1 a day.

  label: f32[T, S], NaN where unknown.
  """
  count = len(sample.scored)
  least = min(SHIFT, count // 3)
  shift = rng.integers(least, count - least + 1)
  signs = rng.choice([-1.0, 1.0], size=count // SIGN_DAYS + 2)
  source = (np.searchsorted(sample.scored, sample.days) + shift) % count
  start = rng.integers(SIGN_DAYS)
  sign = signs[(source + start) // SIGN_DAYS]
  moved = label[sample.scored[source]] * sign[:, None].astype(np.float32)
  days = np.arange(len(source), dtype=np.int32)
  members = np.asarray(sample.members)[sample.days]
  return np.asarray(_noise_unit(moved, members, days), np.float16)


_noise_unit = jax.jit(behaviour.unit)


def own_error(
  sample: Sample, rows: np.ndarray, target: np.ndarray, overlap: int
) -> np.ndarray:
  """Standard errors of formulas' mean ICs with the panel's own label, f64[N].

  They know of the overlap of labels, see `metrics.mean_error`.

  Args:
    sample: of a split.
    rows: f16[N, D, S].
    target: f32[T, S], the label of the panel's stocks.
    overlap: days on which labels of neighbouring days overlap.
  """
  days = jnp.asarray(sample.days)
  unit = np.asarray(_noise_unit(jnp.asarray(target), sample.members, days))
  daily = np.einsum('nds,ds->nd', rows.astype(np.float32), unit)
  daily = daily * scale_of(rows)[:, None]
  spacing = (len(sample.scored) - 1) / max(len(sample.days) - 1, 1)
  lag = max(int(np.ceil(overlap / spacing)), 1)
  return np.array([metrics.mean_error(each, lag).error for each in daily])


def calibrated(noise: np.ndarray, errors: np.ndarray) -> float:
  """Noise whose standard errors are the panel's own, in the median.

  noise: f32[K, B, P], the ICs of P formulas of the label's horizon.
  errors: f64[P].

  Returns:
    The factor, a number.
  """
  spread = noise.mean(1).std(0)
  ratio = np.median(errors[spread > 0] / spread[spread > 0])
  return float(np.clip(ratio, 1 / CALIBRATION, CALIBRATION))


def choose_held(
  gram: np.ndarray, probes: np.ndarray, share: float, seed: int
) -> np.ndarray:
  """Formulas that no training task sees, and all that is too like them.

  gram: f[N, N], mean correlations.
  probes: positions, which are never held out.
  """
  count = len(gram)
  free = np.setdiff1d(np.arange(count), probes)
  rng = np.random.default_rng([seed, 1])
  chosen = rng.permutation(free)[: round(share * count)]
  held = np.zeros(count, bool)
  held[chosen] = True
  like = np.abs(np.asarray(gram, np.float32))[chosen].max(0, initial=0.0)
  held |= like > TWINS
  held[probes] = False
  return held


def make(
  split_rows: Sequence[tuple[Sample, np.ndarray, np.ndarray, np.ndarray]],
  formulas: Sequence[Formula],
  probes: np.ndarray,
  *,
  seed: int,
  draws: int,
  horizons: Sequence[int],
  label: LabelSpec,
  held_share: float,
) -> Bank:
  """Measures formulas on panels.

  Args:
    split_rows: of each panel (sample, cross-sections, facts, label f32[T, S]).
    formulas: N.
    probes: positions among them.
    seed: of noise and of what is held out.
    draws: of noise on each panel.
    horizons, label: see `noise_ics`.
    held_share: of the formulas.
  """
  grams, noises, sizes = [], [], []
  own = label.exit - label.entry
  for number, (where, rows, _, target) in enumerate(split_rows):
    grams.append(block_grams(rows, where.blocks))
    noise, horizon = noise_ics(
      where, rows, seed + number, draws, horizons, label
    )
    errors = own_error(where, rows[probes], target, own - 1)
    alike = noise[horizon == own] if np.any(horizon == own) else noise
    noises.append(noise * calibrated(alike[:, :, probes], errors))
    sizes.append([len(where.scored) / 1000, len(where.panel.symbols) / 300])
  mean = [gram.mean(0, dtype=np.float32).astype(np.float16) for gram in grams]
  like = np.abs(mean[0].astype(np.float32))
  return Bank(
    gram=jnp.asarray(np.stack(grams)),
    mean=jnp.asarray(np.stack(mean)),
    noise=jnp.asarray(np.stack(noises), jnp.float32),
    facts=jnp.asarray(np.stack([facts for _, _, facts, _ in split_rows])),
    size=jnp.asarray([formula_lib.size(f) for f in formulas], jnp.float32),
    log_weight=-jnp.log(jnp.asarray(np.sum(like > CLUSTER, 1), jnp.float32)),
    held=jnp.asarray(choose_held(mean[0], probes, held_share, seed)),
    probes=jnp.asarray(probes, jnp.int32),
    panels=jnp.log(jnp.asarray(sizes, jnp.float32)),
    horizons=jnp.asarray(horizon, jnp.float32),
  )
