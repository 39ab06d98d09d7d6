"""Gradients through operators that missing values do not poison."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp


def guard(
  function: Callable, fill: float | None = 1.0, window: int | None = None
) -> Callable:
  """The same values, and gradients that missing values do not poison.

  A missing cell has no cotangent, but 0 times a derivative of NaN or infinity
  is NaN. Backwards, missing operands are therefore replaced by `fill` ("double
  where"; None: `function` itself looks past them), and a derivative that is
  still not finite, such as that of the Std of a constant window, counts 0.
  Forward derivatives (`jax.jvp`) there are none.

  Args:
    function: `(constant, *operands) -> f32[T, S]`. What it reads beside its
      operands comes as `constant`, a tree of arrays without gradients: closed
      over, it would be out of reach when a jitted caller is differentiated.
    fill: what stands in for missing operands.
    window: that of a rolling function; the days before the panel are missing
      too.

  Returns:
    A function like `function`.
  """
  lead = window or 0

  def full(constant, *operands):
    before = [(lead, 0)] + [(0, 0)] * (operands[0].ndim - 1)
    longer = (jnp.pad(x, before, constant_values=fill) for x in operands)
    return function(constant, *longer)[lead:]

  def forward(constant, *operands):
    result = function(constant, *operands)
    return result, (constant, operands, jnp.isfinite(result))

  def backward(residuals, cotangent):
    constant, operands, known = residuals
    finite = tuple(map(jnp.isfinite, operands))
    filled = operands
    if fill is not None:
      filled = tuple(
        jnp.where(f, x, fill) for f, x in zip(finite, operands, strict=True)
      )
    run = functools.partial(full if lead else function, constant)
    _, pull = jax.vjp(run, *filled)
    gradients = pull(jnp.where(known, cotangent, 0.0))
    return None, *(
      jnp.where(f & jnp.isfinite(g), g, 0.0)
      for f, g in zip(finite, gradients, strict=True)
    )

  guarded = jax.custom_vjp(function)
  guarded.defvjp(forward, backward)
  return guarded
