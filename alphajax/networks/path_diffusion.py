"""A diffusion model that draws a series by windows of days.

A day is one token of C channels. A window begins as noise, and a denoiser that
sees all of it says what it was made of; a solver goes a step of the way, over
and over. The first days of a window may be given: so windows follow one
another, each beginning with the last days of the one before it.

Channels are first made normal by their ranks (`Ranks`), for real ones have
tails that a squared error never meets, and a wick that is 0, as a tenth are,
is a value below that of the smallest one.

Training is that of DDPM, arXiv:2006.11239, the gates and the noise are those of
CSDI, arXiv:2107.03502.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from alphajax.networks import path_heads
from alphajax.networks.sequence import positions

FIRST_BETA, LAST_BETA = 1e-4, 0.5
NUM_RANKS = 1024  # Points of a table of ranks,
FAR = 4.5  # which reaches so many deviations to either side.
UNGIVEN = 0.25  # Share of the windows in training of which nothing is given.


class Ranks(NamedTuple):
  """Tables that make channels normal: the value of each of K normal ones."""

  values: jax.Array  # f32[C, K], ascending.
  none: jax.Array  # f32[C], share of values at or below 0; 0 where no wick.


def make_ranks(series: np.ndarray, wicks: tuple[int, ...]) -> Ranks:
  """The tables of days `[T, S, C]`; NaN is missing.

  Raises:
    ValueError: a channel without any value.
  """
  known = [x[np.isfinite(x)] for x in np.moveaxis(np.asarray(series), -1, 0)]
  empty = [i for i, x in enumerate(known) if not x.size]
  if empty:
    raise ValueError(f'channel {empty[0]} has no value to take ranks of')
  known = [np.maximum(x, 0) if i in wicks else x for i, x in enumerate(known)]
  shares = jax.scipy.stats.norm.cdf(_normal_values())
  values = [np.quantile(x, np.asarray(shares, float)) for x in known]
  none = [np.mean(x <= 0) if i in wicks else 0.0 for i, x in enumerate(known)]
  return Ranks(jnp.array(values, jnp.float32), jnp.array(none, jnp.float32))


def _normal_values() -> jax.Array:
  return jnp.linspace(-FAR, FAR, NUM_RANKS)


def to_normal(ranks: Ranks, rng_key, days: jax.Array) -> jax.Array:
  """Days `[..., C]` by ranks; where a wick is 0, a value below all others.

  Which one is random: what the network sees there is normal as well.
  """
  normal = _normal_values()
  each = jax.vmap(lambda x, values: jnp.interp(x, values, normal), (-1, 0), -1)(
    days, ranks.values
  )
  share = jax.random.uniform(rng_key, days.shape, minval=1e-5) * ranks.none
  below = jnp.clip(jax.scipy.special.ndtri(share), -FAR, FAR)
  return jnp.where((days <= 0) & (ranks.none > 0), below, each)


def from_normal(ranks: Ranks, days: jax.Array) -> jax.Array:
  """The inverse: no value lies beyond those of the table."""
  normal = _normal_values()
  each = jax.vmap(lambda x, values: jnp.interp(x, normal, values), (-1, 0), -1)(
    days, ranks.values
  )
  below = days <= jax.scipy.special.ndtri(ranks.none)  # -inf where no wick.
  return jnp.where(below, 0.0, each)


def kept_shares(num_steps: int) -> jax.Array:
  """Share of the variance that is not noise after each step, f32[N]."""
  roots = jnp.linspace(FIRST_BETA**0.5, LAST_BETA**0.5, num_steps)
  return jnp.cumprod(1.0 - roots**2)


class Denoiser(nn.Module):
  """What a window is made of beyond `denoise`; unbatched, the caller vmaps."""

  num_channels: int
  context_size: int = 0
  width: int = 64
  num_blocks: int = 4
  num_heads: int = 4

  @nn.compact
  def __call__(self, noisy, known, given, context, step) -> jax.Array:
    """Numbers f32[L, C] of size 1, see `denoise`.

    Args:
      noisy: f32[L, C], without noise on the given days; 0 where not known.
      known: bool[L, C].
      given: bool[L].
      context: f32[L, E], known of the days from outside.
      step: i32[], how noisy it is.
    """
    length = len(noisy)
    given = jnp.broadcast_to(given[:, None], (length, 1))
    parts = (noisy, known.astype(jnp.float32), given, context)
    around = jnp.concatenate(parts[1:], axis=-1)
    x = nn.Dense(self.width)(jnp.concatenate(parts, axis=-1))
    x = nn.silu(x + positions(length, self.width))
    said = jnp.zeros(x.shape)
    stage = nn.silu(nn.Dense(self.width)(_step_code(step, self.width)))
    for _ in range(self.num_blocks):
      y = x + nn.Dense(self.width)(stage)
      y = y + nn.MultiHeadDotProductAttention(self.num_heads)(nn.LayerNorm()(y))
      gates = nn.Dense(2 * self.width)(y) + nn.Dense(2 * self.width)(around)
      gate, content = jnp.split(gates, 2, axis=-1)
      y = nn.Dense(2 * self.width)(nn.sigmoid(gate) * jnp.tanh(content))
      residual, skip = jnp.split(y, 2, axis=-1)
      x, said = (x + residual) / 2**0.5, said + skip
    said = nn.silu(nn.Dense(self.width)(said / self.num_blocks**0.5))
    # At first days and channels are independent.
    return nn.Dense(self.num_channels, kernel_init=nn.initializers.zeros)(said)


def _step_code(step: jax.Array, width: int) -> jax.Array:
  rate = jnp.exp(-math.log(1e4) * jnp.arange(width // 2) / (width // 2))
  return jnp.concatenate([jnp.sin(step * rate), jnp.cos(step * rate)])


def init(model: Denoiser, rng_key: jax.Array, window: int):
  """Parameters of a denoiser."""
  days = jnp.zeros((window, model.num_channels))
  context = jnp.zeros((window, model.context_size))
  given = jnp.zeros(window, bool)
  return model.init(rng_key, days, days == 0, given, context, 0)


def denoise(model, params, share, noisy, known, given, context, step):
  """What a noisy window f32[L, C] was made of.

  Of independent normal numbers that is sqrt(share) times the noisy ones. The
  network says the rest, in units of what is unknown: so without training the
  channels are those of a day drawn by itself, and nothing shrinks.
  """
  said = model.apply(params, noisy, known, given, context, step)
  return jnp.sqrt(share) * noisy + jnp.sqrt(1 - share) * said


def loss(
  model: Denoiser,
  ranks: Ranks,
  params,
  days: jax.Array,
  context: jax.Array,
  rng_key: jax.Array,
  *,
  num_given: int,
  num_steps: int,
) -> jax.Array:
  """Mean squared error of what windows were made of, in units of the unknown.

  About 1 where days and channels are taken for independent.

  days: `[B, L, C]`, NaN where missing. context: `[B, L, E]`. The noise of the
  windows is spread evenly over the steps.
  """
  rank_key, noise_key, step_key, given_key = jax.random.split(rng_key, 4)
  batch, length, _ = days.shape
  known = jnp.isfinite(days)
  clean = to_normal(ranks, rank_key, jnp.where(known, days, 0.0))
  step = (jnp.arange(batch) + jax.random.uniform(step_key)) * num_steps / batch
  step = jnp.minimum(step.astype(jnp.int32), num_steps - 1)
  share = kept_shares(num_steps)[step][:, None, None]
  noise = jax.random.normal(noise_key, days.shape)
  some = jax.random.uniform(given_key, (batch, 1)) >= UNGIVEN
  given = some & (jnp.arange(length) < num_given)
  noisy = jnp.sqrt(share) * clean + jnp.sqrt(1 - share) * noise
  noisy = jnp.where(given[..., None], clean, noisy)
  noisy = jnp.where(known, noisy, 0.0)
  found = jax.vmap(functools.partial(denoise, model, params))(
    share, noisy, known, given, path_heads.squash(context), step
  )
  counts = known & ~given[..., None]
  square = jnp.square(found - clean) / (1 - share)
  square = jnp.where(counts, square, 0.0)
  return square.sum() / jnp.maximum(counts.sum(), 1)


class Steps(NamedTuple):
  """A way from noise to a window, the noisiest step first, each [K]."""

  step: np.ndarray  # i64, of the training's steps.
  keep: np.ndarray  # f32, factor of the noisy window,
  add: np.ndarray  # of what the denoiser says,
  back: np.ndarray  # and how far that is carried on from the step before.


def make_steps(num_steps: int, sample_steps: int) -> Steps:
  """Steps that are even in the log of signal to noise; about `sample_steps`.

  Of second order, DPM-Solver++(2M) of arXiv:2211.01095. DDIM is the same
  without `back`, and loses an eighth of the deviation in 20 such steps however
  good the denoiser; these gain a hundredth.
  """
  share = np.asarray(kept_shares(num_steps), float)
  ratio = 0.5 * np.log(share / (1 - share))
  wanted = np.linspace(ratio[-1], ratio[0], sample_steps)
  step = np.unique(np.abs(ratio[:, None] - wanted).argmin(0))[::-1]
  share, ratio = share[step], ratio[step]
  hop = np.diff(ratio)
  keep = np.sqrt((1 - share[1:]) / (1 - share[:-1]))
  add = -np.sqrt(share[1:]) * np.expm1(-hop)
  back = np.concatenate([[0.0], hop[1:] / hop[:-1] / 2])[: len(hop)]
  # The last step ends at what the denoiser says.
  parts = (np.append(keep, 0.0), np.append(add, 1.0), np.append(back, 0.0))
  return Steps(step, *(x.astype(np.float32) for x in parts))


def denoised(denoise: Callable, noise: jax.Array, steps: Steps) -> jax.Array:
  """What noise of any shape is taken to; no new noise is added on the way.

  denoise: `(noisy, step) -> clean`.
  """

  def one(carry, inputs):
    noisy, before = carry
    step, keep, add, back = inputs
    clean = denoise(noisy, step)
    noisy = keep * noisy + add * (clean + back * (clean - before))
    return (noisy, clean), None

  first = (noise, jnp.zeros_like(noise))
  return jax.lax.scan(one, first, jax.tree.map(jnp.asarray, steps))[0][0]


def make_sampler(
  model: Denoiser,
  ranks: Ranks,
  *,
  window: int,
  num_given: int,
  num_steps: int,
  sample_steps: int,
) -> Callable:
  """A jitted `(params, rng_key, context f32[T, B, E]) -> f32[T, B, C]`.

  Each series has a key of its own, as in `path_models.make_sampler`.
  """
  steps = make_steps(num_steps, sample_steps)
  shares = kept_shares(num_steps)
  known = jnp.ones((window, model.num_channels), bool)
  advance = window - num_given

  def one_window(params, rng_key, before, given, context):
    """Days `[L, C]`, the first of them `before` where they are given."""
    whole = jnp.zeros(known.shape).at[:num_given].set(before)

    def clean(noisy, step):
      noisy = jnp.where(given[:, None], whole, noisy)
      return denoise(
        model, params, shares[step], noisy, known, given, context, step
      )

    noise = jax.random.normal(rng_key, known.shape)
    return jnp.where(given[:, None], whole, denoised(clean, noise, steps))

  def one_series(params, rng_key, context):
    num_days = len(context)
    count = max(-(-(num_days - num_given) // advance), 1)
    # The last window may reach beyond the path: its days are as the last one.
    days = jnp.arange(count)[:, None] * advance + jnp.arange(window)
    seen = path_heads.squash(context)[jnp.minimum(days, num_days - 1)]

    def next_window(before, inputs):
      i, context = inputs
      given = (i > 0) & (jnp.arange(window) < num_given)
      key = jax.random.fold_in(rng_key, i)
      whole = one_window(params, key, before, given, context)
      return whole[advance:], whole

    first = jnp.zeros((num_given, model.num_channels))
    windows = jax.lax.scan(next_window, first, (jnp.arange(count), seen))[1]
    return from_normal(ranks, _joined(windows, num_given)[:num_days])

  def sample(params, rng_key, context):
    keys = jax.vmap(lambda i: jax.random.fold_in(rng_key, i))(
      jnp.arange(context.shape[1])
    )
    return jax.vmap(one_series, (None, 0, 1), 1)(params, keys, context)

  return jax.jit(sample)


def _joined(windows: jax.Array, num_given: int) -> jax.Array:
  """The days f32[*, C] of windows `[N, L, C]` that follow one another.

  Each begins with the last `num_given` days of the one before it.
  """
  first, rest = windows[0, :num_given], windows[:, num_given:]
  return jnp.concatenate([first, rest.reshape(-1, rest.shape[-1])])
