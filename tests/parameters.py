"""Parameters of networks, made on the host: no program draws them."""

import jax
import numpy as np

SIZE = 0.2  # Of every number: an opinion is large enough to be seen.


def random(network, language, seed=0):
  """Biases as well: they start at 0, where some mistakes would not show."""
  inputs = [np.zeros(language.max_tokens, np.int32)]
  if network.context_width:
    inputs.append(np.zeros(network.context_width, np.float32))
  return of(network.init, *inputs, seed=seed)


def of(init, *inputs, seed=0):
  """The same, for what `init(rng_key, *inputs)` makes."""
  rng = np.random.default_rng(seed)
  shapes = jax.eval_shape(init, jax.random.key(0), *inputs)
  return jax.tree.map(
    lambda leaf: rng.normal(0, SIZE, leaf.shape).astype(np.float32), shapes
  )
