"""A market as one vector (AlphaFormer): its cells alone, no label.

An LSTM reads the path of every stock, a Transformer looks across the stocks,
and their mean is the market. Neither the order of the stocks nor padding
matters.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from alphajax.data import panel as panel_lib
from alphajax.data.panel import Panel
from alphajax.networks import attention, lstm

CHANNELS = 7
LIMIT = 5.0  # Of a channel, in deviations.


class MarketEncoder(nn.Module):
  """`paths f32[S, T, C], there bool[S] -> f32[D]`; 0 without any stock."""

  width: int = 128
  num_layers: int = 2
  num_heads: int = 4
  hidden: int = 512

  @nn.compact
  def __call__(self, paths: jax.Array, there: jax.Array) -> jax.Array:
    each = nn.vmap(
      lstm.LSTM, variable_axes={'params': None}, split_rngs={'params': False}
    )
    said, _ = each(self.width, self.num_layers)(paths)
    stocks = attention.Encoder(
      self.width, self.num_layers, self.num_heads, self.hidden
    )(said[:, -1], there)
    total = jnp.sum(jnp.where(there[:, None], stocks, 0.0), axis=0)
    return total / jnp.maximum(jnp.sum(there), 1)


def paths(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
  """What the encoder reads of a panel: (f32[S, T, C], bool[S]).

  Per stock the logarithms of the close over the close before, of the day's
  open, high, low and vwap over the close, and of the volume; each without its
  mean and in its own deviations, since the paper says nothing of scales. The
  last channel is 1 where the stock has a bar, and the others are 0 where it
  has none, or where nothing ever changes.

  Args:
    panel: all of its days are read. A stock without any bar is not there.
  """
  value = {
    name: _log(np.asarray(panel_lib.feature(panel, name), np.float64))
    for name in panel_lib.FEATURES
  }
  close = value['close']
  change = np.diff(close, axis=0, prepend=np.full_like(close[:1], np.nan))
  inside = [value[name] - close for name in ('open', 'high', 'low', 'vwap')]
  channels = [_scaled(x) for x in (change, *inside, value['volume'])]
  known = np.isfinite(close)
  stacked = np.stack([*channels, known], axis=-1).astype(np.float32)
  return stacked.swapaxes(0, 1), known.any(0)


def _log(x: np.ndarray) -> np.ndarray:
  """NaN where there is no positive number."""
  return np.log(np.where(np.isfinite(x) & (x > 0), x, np.nan))


def _scaled(x: np.ndarray) -> np.ndarray:
  """Columns `[T, S]` with mean 0 and deviation 1; 0 where missing."""
  known = np.isfinite(x)
  count = np.maximum(known.sum(0), 1)
  left = np.where(known, x - np.where(known, x, 0.0).sum(0) / count, 0.0)
  deviation = np.sqrt(np.square(left).sum(0) / count)
  # Of a constant the rounding remains.
  alive = deviation > 1e-6
  z = np.where(alive, left / np.where(alive, deviation, 1.0), 0.0)
  return np.clip(z, -LIMIT, LIMIT)
