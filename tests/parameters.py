"""Parameters of networks, made on the host: no program draws them."""

import jax
import numpy as np

SIZE = 0.2  # Of every number: an opinion is large enough to be seen.


def random(network, language, seed=0):
  """Biases as well: they start at 0, where some mistakes would not show."""
  rng = np.random.default_rng(seed)
  inputs = [np.zeros(language.max_tokens, np.int32)]
  if network.context_width:
    inputs.append(np.zeros(network.context_width, np.float32))
  shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs)
  return jax.tree.map(
    lambda leaf: rng.normal(0, SIZE, leaf.shape).astype(np.float32), shapes
  )
