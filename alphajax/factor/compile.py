"""One formula as one jitted function, for composing with other JAX code."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from alphajax.factor import operators
from alphajax.language import formula as formula_lib
from alphajax.language import vocab


def compile(formula: formula_lib.Formula) -> Callable:
  """Compiles one formula: `fn(panel) -> f32[T, S]`, jitted.

  For a formula that is used again and again, and for composing with other
  JAX code. Many different formulas are faster through `Store` or `values`,
  which compile nothing.
  """
  formula = formula_lib.canonical(formula)

  @functools.partial(jax.jit, static_argnames='names')
  def run(features, members, names):
    def walk(node):
      if not node.args:
        if formula_lib.is_number(node):
          return jnp.full(members.shape, float(node.symbol), jnp.float32)
        return operators.finite(features[names.index(node.symbol)])
      kind = vocab.OPERATORS[node.symbol].kind
      args, window = node.args, None
      if kind in vocab.WINDOWED:
        args, window = args[:-1], int(args[-1].symbol)
      return operators.apply(
        node.symbol, [walk(arg) for arg in args], window, members
      )

    return walk(formula)

  def evaluate(panel):
    return run(
      jnp.asarray(panel.features, jnp.float32),
      jnp.asarray(panel.mask),
      names=tuple(panel.feature_names),
    )

  return evaluate
