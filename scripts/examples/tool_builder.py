r"""For a tool builder: a language of your own, played and evaluated in bulk.

python scripts/examples/tool_builder.py

`environment.init` and `step` are pure and unbatched, to be put under `jit`,
`vmap` and `scan` with any policy; `Store.map` evaluates what comes out, each
subexpression once, and keeps only what your function makes of the values.
"""

import jax
import jax.numpy as jnp

import alphajax
from alphajax.language import environment
from alphajax.language import formula as formula_lib

RULES = """
Expr -> Mul Price Volume : 1
Price -> Delta close Num | Sub close Mean close Num
Volume -> CSRank volume | Mean volume Num : 1
Num -> 20 | 30 | 40
"""


def play(language, rng_key):
  """A game of a policy that draws valid rules alike; the last state."""

  def move(state, rng_key):
    logits = jnp.where(state.invalid_actions, -jnp.inf, 0.0)
    action = jax.random.categorical(rng_key, logits)
    return environment.step(language, state, action), action

  keys = jax.random.split(rng_key, language.max_steps)
  return jax.lax.scan(move, environment.init(language), keys)[0]


def known(values, mask):
  """The share of members with a value, f32[T, S] -> f32[]."""
  return jnp.sum(jnp.isfinite(values) & mask) / jnp.sum(mask)


def main(num_games=64):
  """Prints each formula that was written, and its coverage; returns both."""
  language = environment.make('custom', rules=RULES, max_length=3)
  keys = jax.random.split(jax.random.key(0), num_games)
  states = jax.jit(jax.vmap(play, (None, 0)))(language, keys)
  written = environment.formulas_of(language, states.tokens)
  formulas = list({formula_lib.key(each): each for each in written}.values())
  panel = alphajax.simulate(num_days=300, num_stocks=40, alphas=()).panel
  coverage = alphajax.Store(panel).map(formulas, known, jnp.asarray(panel.mask))
  for formula, share in zip(formulas, coverage, strict=True):
    print(f'{share:.3f} {alphajax.to_text(formula)}')
  return formulas, coverage


if __name__ == '__main__':
  main()
