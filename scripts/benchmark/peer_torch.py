"""A plain PyTorch evaluator: what alphajax is measured against.

It does what the field's released codes do: one formula at a time, recursively,
nothing remembered, `Tensor.unfold` for every window. Definitions are those of
`alphajax.factor.operators`, which makes it a second opinion on them as well.
Written for this repository; needs PyTorch, which nothing else here does.
"""

import torch

MIN_COVERAGE = 0.5  # Of the labelled members; a day with fewer counts 0.
CONSTANT = 1e-12  # Variance over squared mean: float32 noise of a constant.

UNARY = {
  'Abs': torch.abs,
  'Sign': lambda x: torch.where(x.isnan(), x, torch.sign(x)),
  'Log': lambda x: torch.where(x > 0, torch.log(x), torch.nan),
}
BINARY = {
  'Add': torch.add,
  'Sub': torch.sub,
  'Mul': torch.mul,
  'Div': torch.div,
  'Pow': lambda x, y: torch.pow(x, y) + 0 * (x + y),  # NaN^0 is missing.
  'Greater': torch.maximum,
  'Less': torch.minimum,
}


def finite(x):
  """x, with NaN for whatever is not finite."""
  return torch.where(torch.isfinite(x), x, torch.nan)


def _deviations(x):
  return x - x.mean(-1, keepdim=True)


def _varies(x, squares):
  """True where a window is not constant, from its mean squared deviation."""
  return squares > CONSTANT * x.mean(-1).square()


def _skew(x):
  return _standardized(x, lambda z: (z * z * z).mean(-1))


def _kurt(x):
  return _standardized(x, lambda z: z.square().square().mean(-1)) - 3


def _standardized(x, moment):
  """A moment of each window's z-scores; NaN for a constant window."""
  deviations = _deviations(x)
  squares = deviations.square().mean(-1)
  # Divided before the power: volumes of 1e10 overflow a fourth power.
  result = moment(deviations / squares.sqrt()[..., None])
  return torch.where(_varies(x, squares), result, torch.nan)


def _median(x):
  ordered = x.sort(-1).values  # NaN comes last.
  middle = ordered[..., (x.shape[-1] - 1) // 2 : x.shape[-1] // 2 + 1].mean(-1)
  return torch.where(ordered[..., -1].isnan(), torch.nan, middle)


def _rank(x):
  today = x[..., -1:]
  below = (x < today).float().sum(-1)
  above = (x > today).float().sum(-1)
  rank = (x.shape[-1] + 1 + below - above) / (2 * x.shape[-1])
  return torch.where(x.isnan().any(-1), torch.nan, rank)


def _weighted(x, weights):
  weights = torch.tensor(weights, dtype=x.dtype, device=x.device)
  return (x * (weights / weights.sum())).sum(-1)


def _wma(x):
  return _weighted(x, range(1, x.shape[-1] + 1))


def _ema(x):
  decay = 1 - 2 / (x.shape[-1] + 1)
  return _weighted(x, [decay**i for i in reversed(range(x.shape[-1]))])


# Functions of windows [T - window + 1, S, window] -> [T - window + 1, S].
ROLLING = {
  'Mean': lambda x: x.mean(-1),
  'Sum': lambda x: x.sum(-1),
  'Max': lambda x: x.amax(-1),
  'Min': lambda x: x.amin(-1),
  'Std': lambda x: x.std(-1),
  'Var': lambda x: x.var(-1),
  'Skew': _skew,
  'Kurt': _kurt,
  'Med': _median,
  'Mad': lambda x: _deviations(x).abs().mean(-1),
  'Rank': _rank,
  'WMA': _wma,
  'EMA': _ema,
}


def _cov(x, y):
  product = _deviations(x) * _deviations(y)
  return product.sum(-1) / (x.shape[-1] - 1)


def _corr(x, y):
  dx, dy = _deviations(x), _deviations(y)
  xx, yy = dx.square().mean(-1), dy.square().mean(-1)
  corr = (dx * dy).mean(-1) / (xx.sqrt() * yy.sqrt())
  varies = _varies(x, xx) & _varies(y, yy)
  return torch.where(varies, corr.clamp(-1, 1), torch.nan)


PAIRED = {'Cov': _cov, 'Corr': _corr}


def _windows(function, operands, window):
  """Applies a function of full trailing windows; NaN before there is one."""
  result = torch.full_like(operands[0], torch.nan)
  if window <= len(result):
    unfolded = [x.unfold(0, window, 1) for x in operands]
    result[window - 1 :] = function(*unfolded)
  return result


def _ref(x, window):
  result = torch.full_like(x, torch.nan)
  result[window:] = x[: max(len(x) - window, 0)]
  return result


def cs_rank(x, members):
  """Average rank / count per day over members with a value."""
  ranked = members & ~x.isnan()
  x = torch.where(ranked, x, torch.inf)
  ordered = x.sort(-1).values
  below = torch.searchsorted(ordered, x, right=False)
  not_above = torch.searchsorted(ordered, x, right=True)
  rank = (below + not_above + 1) / (2 * ranked.sum(-1, keepdim=True))
  return torch.where(ranked, rank, torch.nan)


def apply(name, operands, window, members):
  """One operator on planes f32[T, S]; its result is finite or NaN.

  Args:
    name: an operator of `alphajax.language.vocab`.
    operands: tensors, finite or NaN.
    window: days, for the operators that take one.
    members: bool[T, S], read by CSRank alone.
  """
  if name == 'CSRank':
    return cs_rank(*operands, members)
  if name == 'Ref':
    return _ref(*operands, window)
  if name == 'Delta':
    return finite(operands[0] - _ref(*operands, window))
  if name in ROLLING:
    return finite(_windows(ROLLING[name], operands, window))
  if name in PAIRED:
    return finite(_windows(PAIRED[name], operands, window))
  return finite((UNARY | BINARY)[name](*operands))


def evaluate(formula, features, members):
  """Values of a formula, f32[T, S], one node after the other.

  Args:
    formula: anything with `.symbol` and `.args`; a leaf is a feature or a
      number, and the last argument of a windowed operator is its window.
    features: planes f32[T, S] by name.
    members: bool[T, S].
  """
  name, args = formula.symbol, formula.args
  if not args:
    if name in features:
      return finite(features[name])
    return torch.full(members.shape, float(name), device=members.device)
  window = None
  if name in ROLLING or name in PAIRED or name in ('Ref', 'Delta'):
    args, window = args[:-1], int(args[-1].symbol)
  operands = [evaluate(arg, features, members) for arg in args]
  return apply(name, operands, window, members)


def _centred(x, seen):
  """Deviations from the day's mean over `seen`, and whether it is constant."""
  count = seen.sum(-1, keepdim=True).clamp(min=1)
  x = torch.where(seen, x, 0)
  x = x / x.abs().amax(-1, keepdim=True).clamp(min=1e-30)
  mean = x.sum(-1, keepdim=True) / count
  deviations = torch.where(seen, x - mean, 0)
  variance = deviations.square().sum(-1, keepdim=True) / count
  return deviations, (variance <= CONSTANT * mean.square())[..., 0]


def daily_ic(values, target, members):
  """Pearson correlation with the label per day, `[T, S]` thrice -> `[T]`.

  0 on a day that covers fewer than half of the labelled members or on which
  the factor or the label is constant.
  """
  labelled = members & target.isfinite()
  seen = labelled & values.isfinite()
  x, constant_x = _centred(values, seen)
  y, constant_y = _centred(target, seen)
  norm = (x.square().sum(-1) * y.square().sum(-1)).sqrt()
  counts = seen.sum(-1) >= MIN_COVERAGE * labelled.sum(-1)
  counts &= ~constant_x & ~constant_y
  return torch.where(counts, (x * y).sum(-1) / norm, 0)


def prepare(features, members, label):
  """(leaves, apply, daily IC) of a panel, see `peers.one_by_one`."""
  torch.set_num_threads(1)
  universe, target = torch.tensor(members), torch.tensor(label)

  def operate(name, operands, window):
    planes = [
      torch.full(universe.shape, x) if isinstance(x, float) else x
      for x in operands
    ]
    return apply(name, planes, window, universe)

  leaves = {name: finite(torch.tensor(x)) for name, x in features.items()}
  return leaves, operate, lambda values: daily_ic(values, target, universe)
