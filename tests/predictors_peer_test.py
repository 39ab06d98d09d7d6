"""Networks train as PyTorch's from the same weights by the same batches."""

import jax
import numpy as np
import planted
import pytest
from predictors_test import NETWORKS, as_signal, config_of, mean_ic

from alphajax import experiment
from alphajax.methods import characteristics, predictor, sequence_predictor

torch = pytest.importorskip(
  'torch', reason='PyTorch, which the requirements do not name, is missing'
)
EPOCHS = 10
# TCN's dropout draws other numbers there. It is trained in smaller steps: the
# others make of rounding a difference of .01 of loss in six epochs.
CHANGES = {
  'tcn': {
    'network.dropout': 0.0,
    'training.batch_size': 64,
    'training.learning_rate': 3e-3,
  }
}


def tensor(x):
  return torch.tensor(np.array(x))


def set_all(module, **values):
  """Parameters of a module by name; those of none are left as they are."""
  known = dict(module.named_parameters())
  with torch.no_grad():
    for name, value in values.items():
      known[name.replace('__', '.')].copy_(tensor(value))


def linear(part):
  kernel = part['kernel']
  made = torch.nn.Linear(*kernel.shape, bias='bias' in part)
  set_all(made, weight=kernel.T)
  if 'bias' in part:
    set_all(made, bias=part['bias'])
  return made


def recurrent(params, kind):
  first = params['Recurrent_0']
  made = kind(
    len(first['read']['kernel']), len(first['kernel']), 2, batch_first=True
  )
  for i in range(2):
    part = params[f'Recurrent_{i}']
    set_all(
      made,
      **{
        f'weight_ih_l{i}': part['read']['kernel'].T,
        f'bias_ih_l{i}': part['read']['bias'],
        f'weight_hh_l{i}': part['kernel'].T,
        f'bias_hh_l{i}': part['bias'],
      },
    )
  return made


class Lstm(torch.nn.Module):
  def __init__(self, params):
    super().__init__()
    self.rnn = recurrent(params, torch.nn.LSTM)
    self.last = linear(params['Dense_0'])

  def forward(self, x):
    return self.last(self.rnn(x)[0][:, -1])[:, 0]


class Alstm(torch.nn.Module):
  def __init__(self, params):
    super().__init__()
    self.rnn = recurrent(params, torch.nn.GRU)
    self.dense = torch.nn.ModuleList(
      [linear(params[f'Dense_{i}']) for i in range(4)]
    )

  def forward(self, x):
    states = self.rnn(torch.tanh(self.dense[0](x)))[0]
    score = self.dense[2](torch.tanh(self.dense[1](states)))
    heard = (states * torch.softmax(score, 1)).sum(1)
    return self.dense[3](torch.cat([states[:, -1], heard], 1))[:, 0]


class Tcn(torch.nn.Module):
  def __init__(self, params, layers=2):
    super().__init__()
    self.convs = torch.nn.ModuleList()
    for i in range(2 * layers):
      part = params[f'CausalConv_{i}']
      kernel, channels, width = part['direction'].shape
      dilation = 2 ** (i // 2)
      conv = torch.nn.utils.parametrizations.weight_norm(
        torch.nn.Conv1d(
          channels, width, kernel,
          padding=(kernel - 1) * dilation, dilation=dilation,
        )
      )  # fmt: skip
      set_all(
        conv,
        bias=part['bias'],
        parametrizations__weight__original0=part['length'][:, None, None],
        parametrizations__weight__original1=part['direction'].T,
      )
      self.convs.append(conv)
    self.first = linear(params['Dense_0'])
    self.last = linear(params['Dense_1'])

  def forward(self, x):
    for i in range(0, len(self.convs), 2):
      inner = x
      for conv in self.convs[i : i + 2]:
        seen = conv(inner.transpose(1, 2)).transpose(1, 2)
        inner = torch.relu(seen[:, : x.shape[1]])
      x = torch.relu(inner + (x if i else self.first(x)))
    return self.last(x[:, -1])[:, 0]


class Transformer(torch.nn.Module):
  def __init__(self, params):
    super().__init__()
    self.first = linear(params['Dense_0'])
    self.last = linear(params['Dense_3'])
    width, wide = params['Dense_1']['kernel'].shape
    layer = torch.nn.TransformerEncoderLayer(
      width, 2, wide, dropout=0.0, batch_first=True
    )
    part = params['MultiHeadDotProductAttention_0']
    names = 'query', 'key', 'value'
    read = [part[name]['kernel'].reshape(width, width).T for name in names]
    set_all(
      layer,
      self_attn__in_proj_weight=np.concatenate(read),
      self_attn__in_proj_bias=np.concatenate(
        [part[name]['bias'].reshape(-1) for name in names]
      ),
      self_attn__out_proj__weight=part['out']['kernel'].reshape(width, width).T,
      self_attn__out_proj__bias=part['out']['bias'],
      linear1__weight=params['Dense_1']['kernel'].T,
      linear1__bias=params['Dense_1']['bias'],
      linear2__weight=params['Dense_2']['kernel'].T,
      linear2__bias=params['Dense_2']['bias'],
      **{
        f'norm{i + 1}__{theirs}': params[f'LayerNorm_{i}'][ours]
        for i in range(2)
        for theirs, ours in (('weight', 'scale'), ('bias', 'bias'))
      },
    )
    self.layer = layer

  def forward(self, x):
    day = np.arange(x.shape[1])[:, None]
    at = np.arange(0, self.first.out_features, 2)
    angle = day / 10_000 ** (at / self.first.out_features)
    both = np.stack([np.sin(angle), np.cos(angle)], -1)
    where = tensor(both.reshape(len(day), -1).astype(np.float32))
    return self.last(self.layer(self.first(x) + where)[:, -1])[:, 0]


PEERS = {'lstm': Lstm, 'alstm': Alstm, 'tcn': Tcn, 'transformer': Transformer}


def inputs(rows, shape):
  columns = np.nan_to_num(rows.columns.astype(np.float32))
  return tensor(columns.reshape(-1, *shape))


@pytest.mark.parametrize('name', NETWORKS)
@pytest.mark.parametrize('shape', [planted.linear, planted.bent])
def test_networks_reach_what_pytorch_reaches(name, shape):
  market = planted.market(shape, noise=1.0)
  config = config_of(name, **CHANGES.get(name, {}))
  columns = characteristics.make_columns(config)
  sheets = predictor.make_sheets(config, market, columns)
  method = experiment.make_method(config, market)
  state = method.init(jax.random.key(0))
  params = jax.tree.map(lambda x: np.asarray(x[0]), state.model.params)
  peer = PEERS[name](params['params'])
  training = config.training
  optimizer = torch.optim.Adam(
    peer.parameters(), training.learning_rate,
    weight_decay=training.weight_decay,
  )  # fmt: skip
  x, y = inputs(sheets.train, columns.shape), tensor(sheets.train.label)
  unseen = inputs(sheets.valid, columns.shape)
  wanted = tensor(sheets.valid.label)
  losses = []
  for i in range(1, EPOCHS + 1):
    key = jax.random.key(i)
    state, metrics = method.step(state, key)
    order = jax.random.permutation(jax.random.split(key)[0], len(y))
    size = training.batch_size
    for rows in np.asarray(order)[: len(y) // size * size].reshape(-1, size):
      optimizer.zero_grad()
      torch.mean((peer(x[rows]) - y[rows]) ** 2).backward()
      torch.nn.utils.clip_grad_value_(
        peer.parameters(), sequence_predictor.CLIP
      )
      optimizer.step()
    with torch.no_grad():
      said = peer(unseen)
      losses.append(float(torch.mean((said - wanted) ** 2)))
    assert metrics['valid_loss'] == pytest.approx(losses[-1], abs=0.01)
    if losses[-1] == min(losses):
      best = said.numpy()
  rows = sheets.valid
  expected = mean_ic(
    as_signal(market.valid, rows.days, rows.stocks, best), market.valid
  )
  signal = np.asarray(method.predict(state, market.valid.panel))
  assert mean_ic(signal, market.valid) == pytest.approx(expected, abs=0.005)
  assert expected > 0.5
