"""Generators of markets by networks: fitted to real bars, then sampled.

Two networks of one family: of the common path, one series of the market, and of
a stock's bars given the path and what is lasting about the stock, one for all
stocks. See `data.two_levels`; the families are in `networks.path_models`,
`path_transformer` and `path_diffusion`. The common path of a market is of the
same family as its stocks.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import bars, controls, two_levels
from alphajax.data.controls import Source
from alphajax.data.panel import Panel
from alphajax.methods import path_fit
from alphajax.methods.path_fit import Network, Series, Training
from alphajax.networks import path_diffusion, path_models
from alphajax.networks.path_transformer import TransformerPaths

FAMILIES = ('gru', 'transformer', 'diffusion')
NAMES = {
  'gru': 'a GRU',
  'transformer': 'a Transformer',
  'diffusion': 'diffusion',
}
WICKS = (bars.UP, bars.DOWN)
CONTEXT_SIZE = len(two_levels.COMMON) + two_levels.NUM_COVARIATES


class Generator(NamedTuple):
  """What draws markets: fitted networks and the stocks that they are of."""

  family: str
  levels: two_levels.Levels
  source: Source
  common: Network
  stock: Network
  common_params: Any  # None where stocks are independent.
  stock_params: Any


def training(group: str, options: Mapping[str, Any]) -> Training:
  """What a group of the config says of the fit."""
  names = Training._fields[1:]
  return Training(group, *(options[name] for name in names))


def fit(
  source: Source,
  family: str,
  options: Mapping[str, Any],
  seed: int,
  folder: Path,
  independent: bool = False,
  say: Callable[[str], None] = print,
) -> Generator:
  """Fits both networks, or goes on where a killed fit stopped.

  Args:
    source: bars of the training split.
    family: one of FAMILIES.
    options: its group in configs/synthesize.py; other ones need another folder.
    seed: of parameters and batches.
    folder: holds the checkpoints of both.
    independent: every stock by itself, as AlphaFormer does.
    say: is told how far it is.

  Raises:
    ValueError: fewer days than two windows; or see `two_levels.split`.
  """
  levels = two_levels.split(source, independent)
  how = training(family, options)
  common_key, stock_key = jax.random.split(jax.random.key(seed))
  of_common, of_stock = networks(family, options, levels)
  common = None
  if not independent:
    series = Series(
      np.asarray(levels.common)[:, None],
      np.zeros((len(levels.common), 0), np.float32),
      np.zeros((1, 0), np.float32),
    )
    common = path_fit.fit(
      of_common, series, how, common_key, folder / 'common', say
    )
  series = Series(
    np.asarray(levels.left),
    np.asarray(levels.common),
    np.asarray(levels.covariates),
  )
  stock = path_fit.fit(of_stock, series, how, stock_key, folder / 'stock', say)
  return Generator(family, levels, source, of_common, of_stock, common, stock)


def networks(
  family: str, options: Mapping[str, Any], levels: two_levels.Levels
) -> tuple[Network, Network]:
  """Of the common path and of a stock."""
  sizes = ((len(two_levels.COMMON), 0), (len(bars.CHANNELS), CONTEXT_SIZE))
  widths = (options['common_width'], options['width'])
  wicks = ((), WICKS)
  if family == 'diffusion':
    series = (levels.common[:, None], levels.left)
    common, stock = (
      _diffusion(options, path_diffusion.make_ranks(days, none), *size, width)
      for days, none, size, width in zip(
        series, wicks, sizes, widths, strict=True
      )
    )
    return common, stock
  make = _MODELS[family]
  common, stock = (
    by_likelihood(make(options, *size, none, width))
    for size, none, width in zip(sizes, wicks, widths, strict=True)
  )
  return common, stock


def _gru(options, count, context_size, wicks, width):
  return path_models.RecurrentPaths(
    count, context_size, wicks, width, options['num_components']
  )


def _transformer(options, count, context_size, wicks, width):
  return TransformerPaths(
    count, context_size, wicks, width, options['num_components'],
    options['num_layers'], options['num_heads'], options['window'],
  )  # fmt: skip


_MODELS: Mapping[str, Callable] = {'gru': _gru, 'transformer': _transformer}


def by_likelihood(model) -> Network:
  """A network that draws day by day, see `path_models`."""

  def loss(params, days, context, rng_key):
    """Mean negative log likelihood of a bar."""
    del rng_key
    of_series = functools.partial(path_models.likelihood, model, params)
    value = jax.vmap(of_series)(days, context)
    bars_seen = jnp.isfinite(days).any(-1).sum()
    return -value.sum() / jnp.maximum(bars_seen, 1)

  return Network(
    functools.partial(path_models.init, model),
    loss,
    path_models.make_sampler(model),
  )


def _diffusion(options, ranks, count, context_size, width) -> Network:
  model = path_diffusion.Denoiser(
    count, context_size, width, options['num_blocks'], options['num_heads']
  )
  window = options['window']
  steps = dict(num_given=options['num_given'], num_steps=options['num_steps'])
  return Network(
    functools.partial(path_diffusion.init, model, window=window),
    functools.partial(path_diffusion.loss, model, ranks, **steps),
    path_diffusion.make_sampler(
      model, ranks, window=window, sample_steps=options['sample_steps'], **steps
    ),
  )


def without_drift(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Takes the lasting drifts of single stocks out of bars `[6, T, S]`.

  A model that is a little wrong about a stock's mean gives it the same edge on
  every day, and formulas find nothing else: on the CSI 300 a mean |IC| of .08
  where real days have .015. So the mean of a stock, less that of all, becomes
  what chance alone makes of it; of independent normal changes this alters
  nothing but the drift. The market keeps its own.
  """
  change = values[bars.GAP] + values[bars.BODY]
  own = change - change.mean(1, keepdims=True)
  chance = own.std(0) / np.sqrt(len(own)) * rng.normal(size=own.shape[1])
  values = values.copy()
  values[bars.BODY] -= own.mean(0) - (chance - chance.mean())
  return values


def draw_common(
  generator: Generator, rng_key: jax.Array, num_days: int
) -> jax.Array:
  """A common path f32[T, 8]; 0 where stocks are independent."""
  if generator.common_params is None:
    return jnp.zeros((num_days, len(two_levels.COMMON)))
  nothing = jnp.zeros((num_days, 1, 0))
  return generator.common.sample(generator.common_params, rng_key, nothing)[
    :, 0
  ]


def draw_bars(
  generator: Generator, rng_key: jax.Array, common: jax.Array, copies: int = 1
) -> np.ndarray:
  """Scaled bars of all stocks given a common path, f64[copies, 6, T, S].

  As `bars.scale` gives them; see `without_drift`.
  """
  levels = generator.levels
  num_days, num_common = common.shape
  num_stocks, size = levels.covariates.shape
  shared = jnp.broadcast_to(
    common[:, None], (num_days, copies * num_stocks, num_common)
  )
  lasting = jnp.tile(levels.covariates, (copies, 1))
  context = jnp.concatenate(
    [shared, jnp.broadcast_to(lasting, (num_days, *lasting.shape))], axis=-1
  )
  left = generator.stock.sample(generator.stock_params, rng_key, context)
  left = np.asarray(left, float).reshape(num_days, copies, num_stocks, -1)
  return np.stack(
    [
      two_levels.join(np.asarray(common, float), one, levels.loadings)
      for one in np.moveaxis(left, 1, 0)
    ]
  )


def sample(generator: Generator, seed: int, num_days: int) -> Panel:
  """A market of the generator's stocks, all of them members every day."""
  common_key, stock_key = jax.random.split(jax.random.key(seed))
  common = draw_common(generator, common_key, num_days)
  values = draw_bars(generator, stock_key, common)[0]
  kind = 'independent stocks'
  if generator.common_params is not None:
    kind = 'two levels'
  note = f'synthetic: {NAMES[generator.family]}, {kind}, seed {seed}'
  return to_panel(generator.source, values, seed, note)


def to_panel(source: Source, values: np.ndarray, seed: int, note: str) -> Panel:
  """The market of scaled bars `[6, T, S]`."""
  values = without_drift(values, np.random.default_rng([seed, 1]))
  logs = bars.unscale(values, source.anchors, source.typical)
  mask = np.ones(values.shape[1:], bool)
  return controls.to_panel(logs, mask, source.symbols, note)
