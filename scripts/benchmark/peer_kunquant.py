"""Formulas in KunQuant, which writes C++ for a set of them and compiles it.

https://github.com/Menooker/KunQuant; needs a C++ compiler.
"""

import tempfile

import numpy as np
from KunQuant import ops
from KunQuant.Driver import KunCompilerConfig
from KunQuant.jit import cfake
from KunQuant.Op import (
  Builder,
  ConstantOp,
  ForeachBackWindow,
  Input,
  IterValue,
  Output,
  Rank,
  WindowedTempOutput,
)
from KunQuant.runner import KunRunner
from KunQuant.Stage import Function

from alphajax.language import formula as formula_lib

WIDTH = 16  # Stocks of a vector of AVX-512.
PLAIN = {
  'Abs': ops.Abs,
  'Sign': ops.Sign,
  'Log': ops.Log,
  'CSRank': Rank,
  'Add': ops.Add,
  'Sub': ops.Sub,
  'Mul': ops.Mul,
  'Div': ops.Div,
  'Greater': ops.Max,
  'Less': ops.Min,
}
WINDOWED = {
  'Ref': ops.BackRef,
  'Mean': ops.WindowedAvg,
  'Sum': ops.WindowedSum,
  'Max': ops.WindowedMax,
  'Min': ops.WindowedMin,
  'Std': ops.WindowedStddev,
  'Var': ops.WindowedVar,
  'Skew': ops.WindowedSkew,
  'Kurt': ops.WindowedKurt,
  'WMA': ops.DecayLinear,
  'EMA': ops.ExpMovingAvg,
}


class Engine:
  """A panel in one of KunQuant's layouts.

  layout: 'TS', days x stocks, or 'STs', blocks of stocks x days, which it runs
    faster.
  """

  def __init__(self, features, label, layout='STs'):
    days, stocks = label.shape
    self._layout, width = layout, -(-stocks // WIDTH) * WIDTH
    padding = ((0, 0), (0, width - stocks))

    def pad(plane):
      plane = np.asarray(plane, np.float32)
      return np.pad(plane, padding, constant_values=np.nan)

    self._label = pad(label)
    self._inputs = {name: pad(plane) for name, plane in features.items()}
    if layout == 'STs':
      shape = days, width // WIDTH, WIDTH
      self._inputs = {
        name: np.ascontiguousarray(plane.reshape(shape).transpose(1, 0, 2))
        for name, plane in self._inputs.items()
      }
    self._executor = KunRunner.createSingleThreadExecutor()

  def compile(self, formulas, optimize=3):
    """What `run` runs."""
    builder, made = Builder(), {}
    with builder:
      env = {name: Input(name) for name in self._inputs}
      for i, formula in enumerate(formulas):
        # A plain input cannot be an output.
        value = _node(formula, env, made)
        Output(ops.AddConst(value, 0.0), f'out_{i}')
    config = KunCompilerConfig(
      blocking_len=WIDTH,
      input_layout=self._layout,
      output_layout='TS',
      split_source=12,
      options={'opt_reduce': True, 'fast_log': True},
    )
    with tempfile.TemporaryDirectory() as folder:
      library = cfake.compileit(
        [('module', Function(builder.ops), config)],
        'library',
        cfake.CppCompilerConfig(
          opt_level=optimize,
          machine=cfake.NativeCPUFlags(),
          for_each=cfake.single_thread_compile,
        ),
        tempdir=folder,
        keep_files=False,
      )
    module = library.getModule('module')
    return library, module, len(formulas)

  def run(self, compiled, out=None):
    """The values f32[N, T, S], written to `out`, and what it takes as ICs.

    Those are NaN on a day on which anything is missing, the padding too: they
    are computed for their time alone.
    """
    _, module, count = compiled
    days, width = self._label.shape
    if out is None:
      out = np.empty((count, days, width), np.float32)
    buffers = {f'out_{i}': out[i] for i in range(count)}
    KunRunner.runGraph(self._executor, module, self._inputs, 0, days, buffers)
    ics = [np.empty(days, np.float32) for _ in range(count)]
    KunRunner.corrWith(
      self._executor, list(out[:count]), self._label, ics,
      layout='TS', rank_inputs=False,
    )  # fmt: skip
    return out


def _node(formula, env, made):
  """The node of a formula; equal parts are one node."""
  if formula not in made:
    made[formula] = _make(formula, env, made)
  return made[formula]


def _make(formula, env, made):
  name, args = formula.symbol, formula.args
  if formula_lib.is_number(formula):
    return ConstantOp(float(name))
  if not args:
    return env[name]
  window = None
  if formula_lib.is_windowed(formula):
    args, window = args[:-1], int(args[-1].symbol)
  operands = [_node(arg, env, made) for arg in args]
  if name == 'Pow':
    return _power(args, operands)
  if window is None:
    return PLAIN[name](*operands)
  x = operands[0]
  if name == 'Delta':
    return ops.Sub(x, ops.BackRef(x, window))
  if name == 'Med':
    return ops.WindowedQuantile(x, window, 0.5)
  if name == 'Rank':
    return ops.DivConst(ops.TsRank(x, window), float(window))
  if name == 'Mad':
    return _mean_deviation(x, window)
  if name == 'Cov':
    return ops.WindowedCovariance(x, window, operands[1])
  if name == 'Corr':
    return ops.WindowedCorrelation(x, window, operands[1])
  return WINDOWED[name](x, window)


def _power(args, operands):
  """It knows roots and whole powers; of others what it would be told."""
  base, exponent = operands
  if formula_lib.is_number(args[0]) and float(args[0].symbol) <= 0:
    return ops.Mul(exponent, ConstantOp('nan'))
  if formula_lib.is_number(args[1]):
    power = float(args[1].symbol)
    if power <= 0 or (2 * power) % 1:
      return ops.Exp(ops.Mul(ops.Log(base), ConstantOp(power)))
  return ops.Pow(base, exponent)


def _mean_deviation(x, window):
  mean = ops.WindowedAvg(x, window)
  values = WindowedTempOutput(x, window)
  with ForeachBackWindow(values, window) as each:
    deviation = ops.Abs(ops.Sub(IterValue(each, values), mean))
  return ops.DivConst(ops.ReduceAdd(deviation), float(window))
