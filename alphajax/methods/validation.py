"""What was mined on the validation split, and which pool is kept."""

import jax.numpy as jnp

from alphajax.methods import archive, choice
from alphajax.methods.archive import Bench, Mined
from alphajax.methods.base import Found
from alphajax.run.clock import Clock


def validate(bench: Bench, mined: Mined, clock: Clock) -> tuple[Mined, dict]:
  """Scores the pool on validation and keeps it if it is the best so far.

  Where a rule chooses from all formulas what it chooses is kept, whatever its
  validation IC: from more formulas it chooses better, and two years of
  validation cannot tell one pool from the next.

  Returns:
    The state, and the metrics that all mining methods report.
  """
  if bench.chooser is None:
    mined, figures = _validate_pool(bench, mined, clock)
  else:
    mined, figures = _validate_choice(bench, mined, clock)
  # Those that have a value on some day.
  valued = sum(ic is not None for ic in mined.book.values())
  if bench.keep and bench.recorder is not None:
    figures['forgotten'] = valued - len(mined.memory.ids)
  return mined, {
    **figures,
    'best_valid_ic': mined.best_valid_ic if mined.found.iteration else None,
    'proposed': mined.proposed,
    'evaluated': len(mined.book),
    'valued': valued,
  }


def _validate_pool(bench, mined, clock):
  """`validate` of the pool of Algorithm 1."""
  formulas, weights = archive.members(bench, mined)
  valid_ic = 0.0
  if formulas:
    with clock('evaluation'):
      padding = bench.capacity - len(formulas)
      values = bench.valid.take([*formulas, *[formulas[0]] * padding])
      padded = jnp.asarray(weights + [0.0] * padding, jnp.float32)
      valid_ic = float(jnp.mean(bench.score_valid(padded, jnp.stack(values))))
  kept = [(f, w) for f, w in zip(formulas, weights, strict=True) if w != 0]
  if kept and valid_ic > mined.best_valid_ic:
    found = Found(mined.iteration, *map(tuple, zip(*kept, strict=True)))
    mined = mined._replace(found=found, best_valid_ic=valid_ic)
  return mined, {
    'train_ic': float(archive.mean_ic(mined.pool, bench.scored)),
    'valid_ic': valid_ic,
    'pool_size': len(formulas),
  }


def _validate_choice(bench, mined, clock):
  """`validate` of what the rule chooses, in the iterations in which it does."""
  ends = bench.ends(len(mined.book), 0, '') is not None
  if choice.due(bench.chooser, mined.iteration, ends):
    with clock('choice'):
      chosen = choice.choose(bench.chooser, mined.memory)
    known = list(mined.book)
    formulas = tuple(
      archive.read([known[i] for i in chosen.ids], bench.features)
    )
    if formulas:
      with clock('evaluation'):
        daily = bench.score_chosen(formulas, chosen.weights)
      valid_ic = float(jnp.mean(daily))
      mined = mined._replace(
        found=Found(mined.iteration, formulas, chosen.weights),
        best_valid_ic=max(mined.best_valid_ic, valid_ic),
        ics=(chosen.train_ic, valid_ic),
      )
  known = mined.found.iteration > 0
  return mined, {
    'train_ic': mined.ics[0] if known else None,
    'valid_ic': mined.ics[1] if known else None,
    'pool_size': len(mined.found.formulas),
  }
