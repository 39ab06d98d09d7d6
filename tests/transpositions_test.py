"""Hashes of formulas, the table of rewards, and the search that reads it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib
from alphajax.language.formula import Formula, parse
from alphajax.search import evaluators, mcts, transpositions


@functools.cache
def language(max_length=10):
  return grammar_lib.make(max_length=max_length)


@functools.cache
def hasher(max_length=10):
  hash_one = functools.partial(
    transpositions.formula_hash, language(max_length)
  )
  return jax.jit(jax.vmap(hash_one))


def hash_of(texts_or_formulas):
  tokens = np.zeros(
    (len(texts_or_formulas), language().max_tokens), np.int32
  )  # fmt: skip
  for row, formula in zip(tokens, texts_or_formulas, strict=True):
    spelled = grammar_lib.tokens_of(language(), formula)
    row[: len(spelled)] = spelled
  return [tuple(pair) for pair in np.asarray(hasher()(tokens)).tolist()]


def twist(formula, rng):
  """An isomorphic formula: commutative operands change places by chance."""
  args = tuple(twist(arg, rng) for arg in formula.args)
  is_free = formula.symbol in ('Add', 'Mul', 'Greater', 'Less', 'Cov', 'Corr')
  if is_free and rng.random() < 0.5:
    args = (args[1], args[0], *args[2:])
  return Formula(formula.symbol, args)


def test_equal_keys_are_equal_hashes_on_many_formulas():
  """Both ways, for all pairs of thousands of short and long formulas."""
  formulas = []
  for max_length, count in ((2, 1500), (4, 1500), (10, 1500)):
    formulas += grammar_lib.random_formulas(
      language(max_length), jax.random.key(max_length), count
    )
  rng = np.random.default_rng(0)
  formulas += [twist(formula, rng) for formula in formulas]
  # And what is almost the same: a word changed, or ordered operands swapped.
  formulas += [
    parse(text)
    for text in (
      'close-open', 'open-close', 'close/open', 'Sum(close,20)',
      'Sum(close,30)', 'Mean(close,20)', 'Cov(close,open,20)',
      'Cov(close,open,30)', 'Corr(open,close,20)', 'Abs(Abs(close))',
      'Abs(close)', 'open+(high+low)', '(open+high)+low', 'close+close',
      'open+open', 'close*close', 'close-close', 'open-open',
    )
  ]  # fmt: skip
  keys = [formula_lib.key(formula) for formula in formulas]
  hashes = hash_of(formulas)
  assert len(set(keys)) > 2000
  assert (
    len(set(keys))
    == len(set(hashes))
    == len(set(zip(keys, hashes, strict=True)))
  )
  # Each half alone is a good hash as well.
  for half in (0, 1):
    firsts = {pair[half] for pair in hashes}
    assert len(firsts) >= len(set(keys)) - 3


def test_partial_formulas_and_padding():
  grammar = language()
  tokens = np.asarray(grammar_lib.init(grammar).tokens)
  formula_hash = jax.jit(transpositions.formula_hash)
  start = formula_hash(grammar, tokens)
  longer = formula_hash(grammar, np.pad(tokens, (0, 5)))
  np.testing.assert_array_equal(start, longer)


look_up = jax.jit(jax.vmap(transpositions.look_up, (None, 0)))


@settings(max_examples=30, deadline=None)
@given(
  st.lists(
    st.lists(
      st.tuples(
        st.sampled_from([0, 1, 7, 2**32 - 2]),
        st.integers(0, 3),
        st.integers(-9, 9),
      ),
      min_size=4,
      max_size=4,
    ),
    max_size=4,
  )
)
def test_a_table_is_a_dictionary(batches):
  table, expected = transpositions.empty(16), {}
  for batch in batches:
    pairs = [(high, low) for high, low, _ in batch]
    values = [float(value) for *_, value in batch]
    table = transpositions.add(
      table, np.array(pairs, np.uint32), np.array(values, np.float32)
    )
    expected.update(zip(pairs, values, strict=True))
  asked = [(high, low) for high in (0, 1, 2, 7, 2**32 - 2) for low in range(4)]
  values, found = jax.device_get(look_up(table, np.array(asked, np.uint32)))
  for pair, value, is_there in zip(asked, values, found, strict=True):
    assert is_there == (pair in expected)
    if is_there:
      assert value == expected[pair]


def test_the_search_takes_the_known_reward():
  """Of the six features one is known to be better than the network says."""
  grammar = language(0)
  best = grammar_lib.tokens_of(grammar, parse('volume'))[0]

  def apply_fn(params, tokens):
    return jnp.zeros((len(tokens), grammar.num_actions)), jnp.full(
      len(tokens), params
    )

  plain = evaluators.from_apply(apply_fn)
  evaluator = transpositions.with_table(plain, grammar)
  formula_hash = jax.jit(jax.vmap(transpositions.formula_hash, (None, 0)))
  code = formula_hash(grammar, np.array([[best]], np.int32))
  play = functools.partial(
    mcts.self_play,
    evaluator=evaluator,
    grammar=grammar,
    num_games=4,
    num_simulations=64,
    temperature=0.05,
  )
  play = jax.jit(play)
  for reward, is_chosen in ((10.0, True), (-10.0, False)):
    table = transpositions.add(
      transpositions.empty(8), code, np.array([reward], np.float32)
    )
    games = play((jnp.float32(0.0), table), jax.random.key(0))
    chosen = np.asarray(games.final_tokens)[:, 0] == best
    assert chosen.all() if is_chosen else not chosen.any()


def test_an_empty_table_changes_nothing():
  grammar = language(2)

  def apply_fn(params, tokens):
    place = jnp.sin(tokens @ jnp.arange(1.0, tokens.shape[1] + 1))
    return params * place[:, None] * jnp.arange(grammar.num_actions), place

  plain = evaluators.from_apply(apply_fn)
  play = functools.partial(
    mcts.self_play, grammar=grammar, num_games=4, num_simulations=16
  )
  key, params = jax.random.key(0), jnp.float32(0.01)
  one = jax.jit(functools.partial(play, evaluator=plain))(params, key)
  evaluator = transpositions.with_table(plain, grammar)
  two = jax.jit(functools.partial(play, evaluator=evaluator))(
    (params, transpositions.empty(5)), key
  )
  np.testing.assert_array_equal(one.final_tokens, two.final_tokens)
