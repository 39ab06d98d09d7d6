"""Networks of predictors against slow float64 loops over all days."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.methods import sequence_predictor
from alphajax.networks import predictors

DAYS, FEATURES, WIDTH = 7, 4, 6


@pytest.fixture(autouse=True)
def all_bits():
  """The oracle has float64; a GPU multiplies in fewer bits unless told."""
  with jax.default_matmul_precision('highest'):
    yield


def sigmoid(x):
  return 1.0 / (1.0 + np.exp(-x))


def softmax(x):
  weights = np.exp(x - x.max(-1, keepdims=True))
  return weights / weights.sum(-1, keepdims=True)


def dense(part, x):
  return x @ part['kernel'] + part.get('bias', 0.0)


def recurrent(part, x, cell):
  """States [D, W] of the days of a row, [D, C]."""
  hidden = memory = np.zeros(len(part['kernel']))
  states = []
  for day in x:
    read = dense(part['read'], day)
    recalled = dense(part, hidden)
    if cell == 'lstm':
      take, forget, new, give = np.split(read + recalled, 4)
      memory = sigmoid(forget) * memory + sigmoid(take) * np.tanh(new)
      hidden = sigmoid(give) * np.tanh(memory)
    else:
      reads, recalls = np.split(read, 3), np.split(recalled, 3)
      reset = sigmoid(reads[0] + recalls[0])
      update = sigmoid(reads[1] + recalls[1])
      new = np.tanh(reads[2] + reset * recalls[2])
      hidden = (1.0 - update) * new + update * hidden
    states.append(hidden)
  return np.array(states)


def lstm(params, x):
  for i in range(2):
    x = recurrent(params[f'Recurrent_{i}'], x, 'lstm')
  return dense(params['Dense_0'], x[-1])[0]


def alstm(params, x):
  x = np.tanh(dense(params['Dense_0'], x))
  for i in range(2):
    x = recurrent(params[f'Recurrent_{i}'], x, 'gru')
  score = dense(params['Dense_2'], np.tanh(dense(params['Dense_1'], x)))
  heard = softmax(score[:, 0]) @ x
  return dense(params['Dense_3'], np.concatenate([x[-1], heard]))[0]


def convolution(part, x, dilation):
  """All days of a causal convolution, its last weight on the day itself."""
  direction = part['direction']
  norm = np.sqrt((direction**2).sum((0, 1)))
  weights = direction / norm * part['length']
  found = []
  for t in range(len(x)):
    total = part['bias'].copy()
    for i, weight in enumerate(weights[::-1]):
      if t >= i * dilation:
        total += x[t - i * dilation] @ weight
    found.append(total)
  return np.array(found)


def tcn(params, x):
  for i in range(3):
    inner = x
    for j in (2 * i, 2 * i + 1):
      inner = convolution(params[f'CausalConv_{j}'], inner, 2**i)
      inner = np.maximum(inner, 0.0)
    x = np.maximum(inner + (x if i else dense(params['Dense_0'], x)), 0.0)
  return dense(params['Dense_1'], x[-1])[0]


def attention(part, x):
  asked, keys, values = (
    np.einsum('dc,chw->hdw', x, part[name]['kernel'])
    + part[name]['bias'][:, None]
    for name in ('query', 'key', 'value')
  )
  weights = softmax(asked @ keys.swapaxes(1, 2) / np.sqrt(keys.shape[-1]))
  heard = np.einsum('hdw,hwc->dc', weights @ values, part['out']['kernel'])
  return heard + part['out']['bias']


def norm(part, x):
  off = x - x.mean(-1, keepdims=True)
  spread = np.sqrt((off**2).mean(-1, keepdims=True) + 1e-5)
  return off / spread * part['scale'] + part['bias']


def transformer(params, x):
  x = dense(params['Dense_0'], x)
  for day in range(len(x)):
    for i in range(0, x.shape[1], 2):
      angle = day / 10_000 ** (i / x.shape[1])
      x[day, i : i + 2] += np.sin(angle), np.cos(angle)
  for i in range(2):
    x = x + attention(params[f'MultiHeadDotProductAttention_{i}'], x)
    x = norm(params[f'LayerNorm_{2 * i}'], x)
    inner = np.maximum(dense(params[f'Dense_{2 * i + 1}'], x), 0.0)
    x = x + dense(params[f'Dense_{2 * i + 2}'], inner)
    x = norm(params[f'LayerNorm_{2 * i + 1}'], x)
  return dense(params['Dense_5'], x[-1])[0]


CASES = {
  'lstm': (lstm, predictors.Lstm(WIDTH)),
  'alstm': (alstm, predictors.Alstm(WIDTH)),
  'tcn': (tcn, predictors.Tcn(WIDTH, 3, 3)),
  # More taps than days, and blocks that see further back than there are days.
  'tcn, long': (tcn, predictors.Tcn(WIDTH, 3, 9)),
  'transformer': (transformer, predictors.Transformer(WIDTH, feed_forward=10)),
}


@pytest.mark.parametrize('days', [1, 2, DAYS])
@pytest.mark.parametrize('name', CASES)
def test_networks_are_those_of_the_slow_loops(name, days):
  oracle, network = CASES[name]
  x = jax.random.normal(jax.random.key(0), (5, days, FEATURES))
  params = network.init(jax.random.key(1), x, train=False)
  leaves, tree = jax.tree.flatten(params)
  keys = jax.random.split(jax.random.key(2), len(leaves))
  params = tree.unflatten(
    leaf + 0.3 * jax.random.normal(key, leaf.shape)
    for leaf, key in zip(leaves, keys, strict=True)
  )
  found = network.apply(params, x, train=False)
  exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
  expected = [oracle(exact['params'], np.array(row, np.float64)) for row in x]
  np.testing.assert_allclose(found, expected, atol=2e-5)
  assert np.std(expected) > 1e-2


def test_a_parted_batch_is_one_batch(monkeypatch):
  network = predictors.Lstm(WIDTH)
  columns = np.random.default_rng(0).normal(size=(96, DAYS * FEATURES))
  columns = columns.astype(np.float32)
  label, order = columns[:, -1], np.arange(96).reshape(2, 48)

  def trained(part):
    monkeypatch.setattr(sequence_predictor, 'PART', part)
    sequence_predictor.programs.cache_clear()
    start, _, epoch = sequence_predictor.programs(
      network, (DAYS, FEATURES), 1e-2, 0.0
    )
    begun = start(jax.random.split(jax.random.key(0), 2))
    return begun[0], epoch(*begun, order, columns, label, jax.random.key(1))

  (first, whole), (_, parted) = trained(48), trained(12)
  sequence_predictor.programs.cache_clear()
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), whole, parted
  )
  # Every weight has moved by more than that.
  moved = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), first, whole[0])
  assert min(jax.tree.leaves(moved)) > 1e-3


@pytest.mark.parametrize(
  'size, parts',
  [(1, 1), (200, 1), (512, 1), (800, 2), (8192, 16), (513, 3), (1021, 1)],
)
def test_parts_of_a_batch(size, parts):
  assert sequence_predictor._parts(size) == parts
