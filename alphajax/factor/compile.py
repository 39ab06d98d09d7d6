"""One formula as one jitted function, for composing with other JAX code."""

import functools
from collections.abc import Callable, Collection, Sequence

import jax
import jax.numpy as jnp

from alphajax.factor import gradients, operators
from alphajax.language import formula as formula_lib
from alphajax.language import groups as groups_lib


def apply(
  formula: formula_lib.Formula, leaf: Callable, members: jax.Array
) -> jax.Array:
  """Applies the operators of a formula to the values of its leaves.

  Gradients pass wherever an operator has one; a missing cell has none.

  Args:
    formula: finished.
    leaf: values f32[T, S] of a node without operands.
    members: what cross-sections are over, see `operators.apply`.

  Returns:
    f32[T, S].
  """
  if not formula.args:
    return leaf(formula)
  args, window = formula.args, None
  if formula_lib.is_windowed(formula):
    args, window = args[:-1], int(args[-1].symbol)
  operator = gradients.guard(
    lambda members, *x: operators.apply(
      formula.symbol, list(x), window, members
    ),
    # A day's other stocks must not seem to be there.
    fill=None if formula.symbol in operators.CROSS_SECTIONAL else 1.0,
    window=window,
  )
  operands = tuple(apply(arg, leaf, members) for arg in args)
  # Fused with its operands, an operator would round differently than in a
  # `Store`, and what is nearly level would rank differently.
  return operator(members, *jax.lax.optimization_barrier(operands))


def compile(formula: formula_lib.Formula) -> Callable:
  """Compiles one formula: `fn(panel) -> f32[T, S]`, jitted.

  For a formula that is used again and again, and for composing with other
  JAX code, gradients included. Many different formulas are faster through
  `Store` or `values`, which compile nothing.

  Raises:
    ValueError: no formula; or, when called, the panel lacks a feature of it.
  """
  if not isinstance(formula, formula_lib.Formula):
    raise ValueError(
      f'{formula!r} is no formula: expected what alphajax.parse(text) gives'
    )
  formula = formula_lib.canonical(formula)
  run = _program(formula)

  def evaluate(panel):
    check_features(formula, panel.feature_names, panel.coded)
    return run(panel.features, panel.mask, names=tuple(panel.feature_names))

  return evaluate


# The next fold or market asks for the same formulas: traced once.
@functools.lru_cache(maxsize=64)
def _program(formula: formula_lib.Formula) -> Callable:
  """`(features, members, names) -> f32[T, S]` of a canonical formula."""

  @functools.partial(jax.jit, static_argnames='names')
  def run(features, members, names):
    features = jnp.asarray(features, jnp.float32)

    def leaf(node):
      if formula_lib.is_number(node):
        return jnp.full(members.shape, float(node.symbol), jnp.float32)
      return operators.finite(features[names.index(node.symbol)])

    return apply(formula, leaf, members)

  return run


def check_features(
  formula: formula_lib.Formula,
  names: Sequence[str],
  coded: Collection[str] = (),
) -> None:
  """Refuses a formula that reads a feature the panel does not have.

  coded: features that hold codes, see `Panel.coded` and `language.groups`.

  Raises:
    ValueError: names the formula, the feature and those there are; or codes
      that are read as values.
  """
  wrong = groups_lib.misread(formula, coded)
  if wrong:
    raise ValueError(
      f'{formula_lib.to_text(formula)}: {groups_lib.NO_VALUES.format(wrong)}'
    )
  for node in formula_lib.nodes(formula):
    known = node.args or formula_lib.is_number(node)
    if not known and node.symbol not in names:
      raise ValueError(
        f'{formula_lib.to_text(formula)} needs {node.symbol!r}; the panel '
        f'has {", ".join(names)}'
      )
