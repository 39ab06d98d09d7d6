"""What every method that mines a pool of formulas shares.

Formulas come in, whoever proposed them; those not seen before are evaluated
and committed to the pool one after the other (Algorithm 1), the pool is scored
on the validation split, and the best pool so far is kept. Under another rule of
`config.pool.rule` what is kept is the pool that the rule chooses from all.
"""

import functools
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import universe
from alphajax.factor import objectives
from alphajax.factor import pool as pool_lib
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula
from alphajax.methods import memory as memory_lib
from alphajax.methods.base import Found
from alphajax.methods.bench import Bench, make_bench
from alphajax.run.clock import Clock

# Who mines has the market from here as well.
__all__ = ('Bench', 'make_bench')

# What `_insert_new` says of a formula where no pool goes on.
_UNTRACKED = (0.0, np.zeros(0, np.int32), 0.0, False)
CHUNK = 32  # Formulas committed by one call of a compiled program.


class Mined(NamedTuple):
  """Everything found so far; a value.

  pool: the current pool on the train split.
  book: canonical key -> `Outcome.own_ic` of every formula evaluated, None for
    one without a value on any day; a key's position is its factor's id.
  proposed: formulas that came in, duplicates counted.
  iteration: how many batches came in.
  found: the best pool by validation; under another rule, the last one chosen.
  best_valid_ic: the best validation IC so far.
  memory: of the formulas evaluated, where a rule chooses from them.
  ics: IC of what a rule chose last on train, an estimate, and on validation.
  """

  pool: pool_lib.Pool
  book: dict[str, float | None]
  proposed: int
  iteration: int
  found: Found
  best_valid_ic: float
  memory: memory_lib.Memory = memory_lib.Memory()
  ics: tuple[float, float] = (0.0, 0.0)


class Outcome(NamedTuple):
  """What one proposed formula met.

  ic: IC of the pool on train after it; 0 for a formula without any value.
     Under another objective, what that makes of the pool's daily IC. This and
     all that is said of the pool is 0 or empty where the bench tracks none.
  own_ic: its own IC on train; 0 without any value. Under another objective,
     that of the factor or of its negative, whichever is better.
  unexplained: its correlation with what the pool before it left of the label;
    0 without any value, or where it was evaluated before.
  is_new: it had not been evaluated before.
  pool_before: the formulas that were in the pool when it came.
  is_twin: it is new, and nearly the same as one of those, see `pool.TWIN`.
  gain: `ic` less that of the pool before it; 0 for one evaluated before.
  """

  ic: float
  own_ic: float
  unexplained: float
  is_new: bool
  pool_before: tuple[Formula, ...]
  is_twin: bool = False
  gain: float = 0.0


def start(bench: Bench) -> Mined:
  """Nothing found yet; what is given is evaluated, the base in the pool."""
  mined = Mined(
    pool=pool_lib.empty(bench.capacity, *bench.target.label.shape),
    book={},
    proposed=0,
    iteration=0,
    found=Found(0, (), ()),
    best_valid_ic=float('-inf'),
  )
  # The base is there whether it makes the pool better or not.
  willing = bench._replace(accept='always')
  for each, formulas in zip((willing, bench), bench.given, strict=True):
    _, new = new_ones(mined.book, formulas)
    pool, book, memory, _ = _insert_new(each, mined, new, Clock())
    mined = mined._replace(
      pool=pool, book=book, memory=memory, proposed=len(book)
    )
  return mined


def commit(
  bench: Bench, mined: Mined, formulas: Sequence[Formula], clock: Clock
) -> tuple[Mined, list[Outcome]]:
  """Evaluates what is new and inserts it, one formula after the other.

  A duplicate, recognised by its canonical key, costs no evaluation and leaves
  the pool as it is.

  Args:
    bench, mined: the market, and the state so far.
    formulas: proposals in the order in which they are committed.
    clock: seconds of `evaluation` and `pool` are added to it.

  Returns:
    The new state, and what each formula met.
  """
  keys, new = new_ones(mined.book, formulas)
  pool, book, memory, after = _insert_new(bench, mined, new, clock)
  known = list(book)
  formula_of = functools.cache(
    lambda i: formula_lib.parse(known[i], bench.features)
  )
  outcomes = []
  of_pool = objectives.of_pool(bench.objective)
  ic = 0.0
  if bench.tracks:
    ic = float(_pool_score(mined.pool, bench.scored, of_pool))
  members = np.asarray(mined.pool.ids)
  for key in keys:
    before = tuple(formula_of(int(i)) for i in members if i >= 0)
    is_new = key in after
    unexplained, is_twin, ic_before = 0.0, False, ic
    if is_new:
      ic, members, unexplained, is_twin = after.pop(key)
    figures = 0.0, 0.0, 0.0
    if (own_ic := book[key]) is not None:
      figures = ic, own_ic, unexplained
    outcomes.append(Outcome(*figures, is_new, before, is_twin, ic - ic_before))
  return mined._replace(
    pool=pool,
    book=book,
    memory=_forget(bench, mined.found, pool, book, memory),
    proposed=mined.proposed + len(formulas),
    iteration=mined.iteration + 1,
  ), outcomes


def _forget(bench, found, pool, book, memory):
  """The memory within its bound: the base and both pools stay."""
  if not bench.keep:
    return memory
  chosen = set(map(formula_lib.key, found.formulas))
  needed = {i for i, key in enumerate(book) if key in chosen}
  needed |= {*range(len(bench.given.base)), *np.asarray(pool.ids).tolist()}
  return memory_lib.forget(memory, bench.keep, needed)


def new_ones(
  book: Collection[str], formulas: Sequence[Formula]
) -> tuple[list[str], dict[str, Formula]]:
  """The key of every formula; and those not in the book, by their keys."""
  keys = [formula_lib.key(formula) for formula in formulas]
  new = {}
  for key, formula in zip(keys, formulas, strict=True):
    if key not in book:
      new.setdefault(key, formula)
  return keys, new


def _insert_new(bench, mined, new, clock):
  """Evaluates and inserts formulas that are not in the book.

  Returns:
    (pool, book, memory, {key: (IC of the pool, ids in it) after that formula,
    what of it the pool before it left unexplained, and if it is a twin}).
  """
  pool, book, memory, after = mined.pool, dict(mined.book), mined.memory, {}
  items = list(new.items())
  for i in range(0, len(items), CHUNK):
    chunk = items[i : i + CHUNK]
    prepared, facts = _look(bench, chunk, clock, read=not bench.tracks)
    ids = np.full(CHUNK, -1, np.int32)
    for n, (key, _) in enumerate(chunk):
      # A formula without a value on any day is no factor.
      valueless = bool(np.isnan(facts[n].own_ic))
      ids[n] = -1 if valueless else len(book)
      book[key] = None if valueless else facts[n].own_ic
    if bench.recorder is not None:
      memory = memory_lib.add(memory, ids[: len(chunk)].tolist(), facts)
    if not bench.tracks:
      after |= {key: _UNTRACKED for key, _ in chunk}
      continue
    with clock('pool'):
      padding = [bench.target.label] * (CHUNK - len(chunk))
      pool, trace = pool_lib.insert(
        pool, prepared + padding, jnp.asarray(ids), bench.target, bench.scored,
        config=bench.fit, accept=bench.accept,
        objective=objectives.of_pool(bench.objective),
        protected=_protected(bench, book),
      )  # fmt: skip
      trace = jax.device_get(trace)
    for n, (key, _) in enumerate(chunk):
      after[key] = (
        float(trace.ic[n]), trace.ids[n], float(trace.unexplained[n]),
        bool(trace.is_twin[n]),
      )  # fmt: skip
  return pool, book, memory, after


def _look(
  bench: Bench, chunk: Sequence[tuple[str, Formula]], clock: Clock, read: bool
) -> tuple[list[jax.Array], list[memory_lib.Fact]]:
  """The factors of what had to be evaluated, and what is known of all.

  read: what is on disk is not evaluated.
  """
  keys, recorder = [key for key, _ in chunk], bench.recorder
  known: dict[str, memory_lib.Fact] = {}
  if recorder is not None and read:
    with clock('memory'):
      known = memory_lib.look_up(recorder, keys)
  new = {key: formula for key, formula in chunk if key not in known}
  if not new:
    return [], [known[key] for key in keys]
  with clock('evaluation'):
    prepared, ics = _prepare(bench, list(new.values()))
  facts = [memory_lib.Fact(float(ic)) for ic in ics]
  if recorder is not None:
    with clock('memory'):
      facts = memory_lib.facts(recorder, ics, prepared)
      memory_lib.keep(recorder, new, facts)
  known |= zip(new, facts, strict=True)
  return prepared, [known[key] for key in keys]


def _protected(bench: Bench, book: dict[str, float | None]) -> int:
  """Slots of the base: its formulas are the first in the book, if valued."""
  first = list(book.values())[: len(bench.given.base)]
  return sum(ic is not None for ic in first)


def _prepare(bench: Bench, formulas: Sequence[Formula]):
  """Factors as the pool takes them, a list of f32[T, M], and their `own_ic`.

  That is NaN for a formula without an opinion on any scored day.
  """
  rest = bench.train.universe, bench.target, bench.scored, bench.objective
  pairs = [_prepare_one(values, *rest) for values in bench.train.take(formulas)]
  return [factor for factor, _ in pairs], jax.device_get(
    [ic for _, ic in pairs]
  )


@functools.partial(jax.jit, static_argnames='objective')
def _prepare_one(values, members, target, scored, objective):
  values = universe.gather(members, values)
  members = members.present
  prepared = pool_lib.prepare(values, members, target)
  own = objectives.of_factor(values, target, scored, objective)
  silent = ~jnp.any(prepared * scored[:, None])
  return prepared, jnp.where(silent, jnp.nan, own)


@jax.jit
@jax.default_matmul_precision('highest')
def mean_ic(pool: pool_lib.Pool, scored: jax.Array) -> jax.Array:
  """Exact IC of the pool on train, the mean over scored days."""
  return pool_lib.daily_ic(pool) @ scored / jnp.sum(scored)


@functools.partial(jax.jit, static_argnames='objective')
def _pool_score(pool, scored, objective):
  return objective(pool_lib.daily_ic(pool), scored)


def formulas(bench: Bench, mined: Mined) -> list[Formula]:
  """All that were evaluated, in the order of the book."""
  return read(mined.book, bench.features)


def read(keys: Iterable[str], features: Sequence[str]) -> list[Formula]:
  """The formulas of canonical keys."""
  return [formula_lib.parse(key, features) for key in keys]


def members(bench: Bench, mined: Mined) -> tuple[list[Formula], list[float]]:
  """Formulas in the pool and their weights, in slot order."""
  known = list(mined.book)
  ids = np.asarray(mined.pool.ids)
  formulas = read([known[i] for i in ids if i >= 0], bench.features)
  return formulas, np.asarray(mined.pool.weights)[ids >= 0].tolist()


def save(mined: Mined) -> tuple[dict, dict]:
  """The arrays and the host part of the state, for a checkpoint.

  Factor values are left out: `load` evaluates them again, to the same bits.
  """
  pool = mined.pool
  arrays = {
    'with_label': pool.with_label,
    'mutual': pool.mutual,
    'weights': pool.weights,
    'ids': pool.ids,
  }
  host = {
    'book': list(mined.book.items()),
    'proposed': mined.proposed,
    'iteration': mined.iteration,
    'found': [
      mined.found.iteration,
      [formula_lib.call_text(formula) for formula in mined.found.formulas],
      mined.found.weights,
    ],
    'best_valid_ic': mined.best_valid_ic if mined.found.iteration else None,
    'ics': mined.ics,
    'remembered': mined.memory.ids,
  }
  return arrays, host


def load(bench: Bench, arrays: dict, host: dict) -> Mined:
  """The state that `save` was given."""
  book = {key: ic for key, ic in host['book']}
  iteration, texts, weights = host['found']
  found = Found(
    iteration,
    tuple(formula_lib.parse(text, bench.features) for text in texts),
    tuple(weights),
  )
  return Mined(
    pool=_load_pool(bench, arrays, list(book)),
    book=book,
    proposed=host['proposed'],
    iteration=host['iteration'],
    found=found,
    best_valid_ic=float('-inf') if not iteration else host['best_valid_ic'],
    memory=_remember(bench, book, host.get('remembered')),
    ics=tuple(host.get('ics', (0.0, 0.0))),
  )


def _load_pool(bench: Bench, arrays: dict, known: Sequence[str]):
  pool = pool_lib.empty(bench.capacity, *bench.target.label.shape)
  if not bench.tracks:  # An older run's may not be empty.
    return pool
  ids = np.asarray(arrays['ids'])
  factors, slots = list(pool.factors), np.flatnonzero(ids >= 0)
  prepared, _ = _prepare(
    bench, [formula_lib.parse(known[ids[n]], bench.features) for n in slots]
  )
  for n, factor in zip(slots, prepared, strict=True):
    factors[n] = factor
  return pool_lib.Pool(factors=tuple(factors), **arrays)


def _remember(bench: Bench, book: dict[str, float | None], ids):
  """The memory of formulas of a book: read, or evaluated to the same bits.

  ids: whose; None: of all with a value.
  """
  memory = memory_lib.Memory()
  if bench.recorder is None:
    return memory
  if ids is None:
    ids = [i for i, ic in enumerate(book.values()) if ic is not None]
  known = list(book)
  valued = [(i, known[i]) for i in ids]
  for n in range(0, len(valued), CHUNK):
    ids, keys = zip(*valued[n : n + CHUNK], strict=True)
    chunk = list(zip(keys, read(keys, bench.features), strict=True))
    _, facts = _look(bench, chunk, Clock(), read=True)
    memory = memory_lib.add(memory, ids, facts)
  return memory


def beside(bench: Bench, mined: Mined) -> tuple[list[Formula], list[float]]:
  """Formulas and weights of the pool that what is proposed should add to.

  Of those that a rule chooses not the one of the first iteration, which is for
  who waits for a result: of so few formulas, what seems to add to them is
  mostly noise, and worse than what is strong by itself.
  """
  if bench.chooser is None:  # What is kept may be an older one.
    return members(bench, mined)
  if mined.found.iteration == 1:
    return [], []
  return list(mined.found.formulas), list(mined.found.weights)


def found(mined: Mined) -> Found | None:
  """The best pool by validation, None before there is one."""
  return mined.found if mined.found.iteration else None
