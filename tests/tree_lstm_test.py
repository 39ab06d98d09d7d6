"""The Tree-LSTM: isomorphism, the equations of Appendix F, speed paths."""

import functools

import everything
import jax
import jax.numpy as jnp
import numpy as np
import parameters
import pytest

from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib
from alphajax.language import vocab as vocab_lib
from alphajax.language.formula import Formula, parse
from alphajax.networks import contexts, forms, heads, incremental, tree_lstm
from alphajax.search import evolution


@pytest.fixture(autouse=True)
def all_bits():
  """The oracle has float64; a GPU multiplies in fewer bits unless told."""
  with jax.default_matmul_precision('highest'):
    yield


EVERYTHING = functools.partial(grammar_lib.make, **everything.OPTIONS)


# Of all random play, in one program per grammar; and of one `encodings`.
GAMES = 64

apply_batch = jax.jit(heads.apply_batch, static_argnums=0)
prepare = jax.jit(incremental.prepare)
start = jax.jit(incremental.start, static_argnums=(2, 3))
step = jax.jit(incremental.step, static_argnames='chunk')
encode_batch = jax.jit(jax.vmap(tree_lstm.encode, (None, 0)))


@functools.partial(jax.jit, static_argnums=0)
def tables_of(network, params):
  return network.apply(params, method='tables')


@functools.cache
def setting(make=grammar_lib.make, width=32):
  grammar = make()
  network = heads.make(grammar, width=width)
  return grammar, network, parameters.random(network, grammar)


def tokens_of(grammar, formulas):
  """Padded, `[N, L]`."""
  rows = np.zeros((len(formulas), grammar.max_tokens), np.int32)
  for row, formula in zip(rows, formulas, strict=True):
    tokens = grammar_lib.tokens_of(grammar, formula)
    row[: len(tokens)] = tokens
  return rows


def encodings(tables, tokens):
  """`[N, L] -> [N, D]`, in the batches of the games."""
  padded = np.pad(tokens, ((0, -len(tokens) % GAMES), (0, 0)))
  parts = padded.reshape(-1, GAMES, padded.shape[1])
  return np.concatenate([encode_batch(tables, part) for part in parts])[
    : len(tokens)
  ]


def shuffled(formula, rng):
  """An isomorphic formula: operands swapped at random where that is free."""
  args = [shuffled(arg, rng) for arg in formula.args]
  row = vocab_lib.OPERATORS.get(formula.symbol)
  if row and row.kind in vocab_lib.COMMUTATIVE and rng.random() < 0.5:
    args[:2] = args[1], args[0]
  return Formula(formula.symbol, tuple(args))


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def oracle(weights, formula, vocab, is_window=False):
  """Appendix F, node by node, in float64. Returns (h, c)."""
  row = vocab_lib.OPERATORS.get(formula.symbol)
  kind = row.kind if row else None
  windowed = kind in vocab_lib.WINDOWED
  states = [
    oracle(weights, arg, vocab, windowed and k == len(formula.args) - 1)
    for k, arg in enumerate(formula.args)
  ]
  ids = {(s.name, s.kind == 'window'): i for i, s in enumerate(vocab.symbols)}
  window_id = ids.get((formula.symbol, True)) if is_window else None
  x = weights['embed'][window_id or ids[formula.symbol, False]]
  is_symmetric = kind in ('binary', 'equality', 'logical')
  w, b = weights['symmetric' if is_symmetric else 'ordered']
  first, second, child_sum, *third = weights['kernels']
  if is_symmetric:
    used = [child_sum, child_sum]
    gate_parts = [(child_sum, (states[0][0] + states[1][0]) / 2)]
  elif kind == 'paired':
    used = [first, first, second]
    operands = (states[0][0] + states[1][0]) / 2
    gate_parts = [(first, operands), (second, states[2][0])]
  else:
    used = [first, second, *third][: len(states)]
    gate_parts = [(u, h) for u, (h, _) in zip(used, states, strict=True)]
  pre = x @ w + b
  i, o, u, f = np.split(pre, 4)
  for kernel, h in gate_parts:
    di, do, du, _ = np.split(h @ kernel, 4)
    i, o, u = i + di, o + do, u + du
  c = sigmoid(i) * np.tanh(u)
  for kernel, (h, below) in zip(used, states, strict=True):
    c = c + sigmoid(f + np.split(h @ kernel, 4)[3]) * below
  return sigmoid(o) * np.tanh(c), c


def weights_of(params):
  p = jax.tree.map(np.float64, params['params']['encoder'])
  return {
    'embed': p['embed']['embedding'],
    'ordered': (p['ordered']['kernel'], p['ordered']['bias']),
    'symmetric': (p['symmetric']['kernel'], p['symmetric']['bias']),
    'kernels': p['kernels'],
  }


@jax.jit
def play(grammar, rng_key, states=None):
  """Tokens `[max_steps + 1, GAMES, L]` and actions of random derivations."""

  def move(states, rng_key):
    logits = jnp.where(states.invalid_actions, -jnp.inf, 0.0)
    actions = jax.random.categorical(rng_key, logits)
    after = jax.vmap(grammar_lib.step, (None, 0, 0))(grammar, states, actions)
    return after, (states.tokens, actions)

  if states is None:
    states = jax.tree.map(
      lambda x: jnp.stack([x] * GAMES), grammar_lib.init(grammar)
    )
  keys = jax.random.split(rng_key, grammar.max_steps + 1)
  return jax.lax.scan(move, states, keys)[1]


def partial_formulas(grammar, rng_key, n):
  """The distinct states on the way of n random derivations."""
  tokens = np.asarray(play(grammar, rng_key)[0])[:, :n]
  tokens = np.unique(tokens.reshape(-1, grammar.max_tokens), axis=0)
  return grammar_lib.formulas_of(grammar, tokens)


@pytest.mark.parametrize('make', [grammar_lib.make, EVERYTHING])
def test_encoding_is_appendix_f(make):
  grammar, network, params = setting(make)
  weights = weights_of(params)
  formulas = partial_formulas(grammar, jax.random.key(1), 20)
  found = encodings(tables_of(network, params), tokens_of(grammar, formulas))
  for formula, h in zip(formulas, found, strict=True):
    expected, _ = oracle(weights, formula, grammar.vocab)
    np.testing.assert_allclose(h, expected, atol=1e-5)


@pytest.mark.parametrize('make', [grammar_lib.make, EVERYTHING])
def test_isomorphic_formulas_get_the_same_bits(make):
  grammar, network, params = setting(make)
  rng = np.random.default_rng(0)
  formulas = partial_formulas(grammar, jax.random.key(2), 60)
  others = [shuffled(formula, rng) for formula in formulas]
  assert sum(f != g for f, g in zip(formulas, others, strict=True)) > 40
  for one, two in zip(
    apply_batch(network, params, tokens_of(grammar, formulas)),
    apply_batch(network, params, tokens_of(grammar, others)),
    strict=True,
  ):
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize('make', [grammar_lib.make, EVERYTHING])
def test_other_formulas_get_other_encodings(make):
  grammar, network, params = setting(make)
  formulas = partial_formulas(grammar, jax.random.key(3), 60)
  distinct = list({formula_lib.key(f): f for f in formulas}.values())
  h = encodings(tables_of(network, params), tokens_of(grammar, distinct))
  gaps = np.abs(h[:, None] - h[None]).max(-1) + np.eye(len(h))
  assert gaps.min() > 1e-4


@pytest.mark.parametrize(
  ('one', 'two'),
  [
    ('high-low', 'low-high'),
    ('Cov(high,low,20)', 'Cov(high,low,30)'),
    ('Cov(high,low,20)', 'Corr(high,low,20)'),
    ('high+low', 'high+high'),
    ('(high+low)+open', '(high+open)+low'),
    ('Pow(0.1,close)', 'Pow(close,0.1)'),
    ('Gt(high,low)', 'Gt(low,high)'),
    ('If(Gt(open,close),high,low)', 'If(Gt(open,close),low,high)'),
    ('If(Gt(open,close),high,high)', 'If(Gt(close,open),high,high)'),
    ('Quantile(close,0.2,20)', 'Quantile(close,0.8,20)'),
    ('Quantile(close,0.2,20)', 'Quantile(close,0.2,5)'),
    ('GroupRank(close,industry)', 'GroupNeutral(close,industry)'),
  ],
)
def test_order_counts_where_it_should(one, two):
  is_paper = not any(word in one for word in ('Gt', 'Quantile', 'Group'))
  grammar, network, params = setting(
    grammar_lib.make if is_paper else EVERYTHING
  )
  formulas = [parse(text, everything.FEATURES) for text in (one, two)]
  logits, _ = apply_batch(network, params, tokens_of(grammar, formulas))
  h1, h2 = np.asarray(logits)
  assert np.abs(h1 - h2).max() > 1e-3


def test_padding_does_not_count():
  grammar, network, params = setting()
  tables = tables_of(network, params)
  tokens = tokens_of(grammar, [parse('Mean(high+low,20)')])
  longer = np.pad(tokens, ((0, 0), (0, 7)))
  np.testing.assert_array_equal(
    encodings(tables, tokens), encodings(tables, longer)
  )


def test_dropout_only_in_training():
  grammar, network, params = setting()
  tokens = tokens_of(grammar, [parse('Mean(high+low,20)')] * 3)
  plain, _ = jax.device_get(apply_batch(network, params, tokens))
  np.testing.assert_array_equal(plain[0], plain[1])
  one, two = (
    np.asarray(apply_batch(network, params, tokens, jax.random.key(seed))[0])
    for seed in (0, 1)
  )
  assert np.abs(one - two).max() > 1e-4
  assert np.abs(one[0] - one[1]).max() > 1e-4


@pytest.mark.parametrize('make', [grammar_lib.make, EVERYTHING])
def test_every_parameter_gets_a_gradient(make):
  grammar, network, params = setting(make)
  tokens = tokens_of(grammar, partial_formulas(grammar, jax.random.key(4), 30))

  def loss(params):
    logits, value = heads.apply_batch(network, params, tokens)
    return jnp.sum(jnp.square(logits)) + jnp.sum(jnp.square(value))

  for gradient in jax.tree.leaves(
    jax.device_get(jax.jit(jax.grad(loss))(params))
  ):
    assert np.all(np.isfinite(gradient))
    assert np.abs(gradient).max() > 0


def odd_rows():
  """Productions unlike the paper's: finished operators, leaves in front."""
  rows = [
    ('Expr', 'close', 0),
    ('Expr', 'Ref Abs high 20', 1),
    ('Expr', 'Greater low low', 1),
    ('Expr', 'Mul 0.1 Expr', 1),
    ('Expr', 'Add Log Abs Expr Expr', 2),
    ('Expr', 'Cov low Expr Num', 2),
    ('Expr', 'Corr Expr open 30', 2),
    ('Expr', 'Sub Expr Expr', 2),
    ('Num', '20', 0),
    ('Num', '30', 0),
  ]
  return grammar_lib.from_rows(rows, vocab_lib.make_vocab(), max_length=8)


@pytest.mark.parametrize(
  ('make', 'chunk'),
  [
    (grammar_lib.make, 10),
    (grammar_lib.make, 64),
    (odd_rows, 16),
    (functools.partial(grammar_lib.make, 'syn', max_length=6), 16),
    (functools.partial(grammar_lib.make, 'sem', max_length=6), 16),
    (functools.partial(grammar_lib.make, 'typed_k'), 16),
    (EVERYTHING, 16),
    (functools.partial(EVERYTHING, 'typed_k'), 16),
  ],
)
def test_incremental_equals_the_whole_formula(make, chunk):
  """Along random derivations, at every step and also at the end."""
  grammar = make()
  network = heads.make(grammar, width=32)
  params = parameters.random(network, grammar)
  played = jax.device_get(play(grammar, jax.random.key(5)))
  tables = tables_of(network, params)
  places = contexts.make(grammar)
  prepared = prepare(places, tables)
  h, memory = start(places, prepared, grammar.start, GAMES)
  check_steps(grammar, tables, (places, prepared), h, memory, played, chunk)


def check_steps(grammar, tables, read, h, memory, played, chunk):
  """Every encoding on the way is that of the whole formula."""
  tokens, actions = played
  nonterminal = np.asarray(grammar.is_nonterminal)[tokens]
  terminated = ~nonterminal.any(axis=2)
  for move in range(grammar.max_steps):
    live = ~terminated[move - 1] if move else np.ones(GAMES, bool)
    expected = np.asarray(encode_batch(tables, tokens[move]))
    np.testing.assert_allclose(np.asarray(h)[live], expected[live], atol=1e-5)
    h, memory = step(
      *read, memory, actions[move], terminated[move], chunk=chunk
    )
  assert terminated[-1].all()


def forms_of(grammar, formulas, rng):
  """States at formulas with a node left open, any of theirs, `[GAMES, ...]`."""
  rules = evolution.read_rules(grammar)
  rows = np.zeros((GAMES, grammar.max_tokens), np.int32)
  lengths = np.zeros(GAMES, np.int32)
  for game, row in enumerate(rows):
    formula = formulas[rng.integers(len(formulas))]
    written = tuple(grammar_lib.derivation(grammar, formula))
    form, lengths[game] = evolution.opened(
      rules, written, int(rng.integers(len(written)))
    )
    row[: len(form)] = form
  observe = functools.partial(grammar_lib.observe, grammar)
  return jax.jit(jax.vmap(observe))(rows, lengths)


@pytest.mark.parametrize(
  ('make', 'chunk'),
  [
    (grammar_lib.make, 16),
    (odd_rows, 10),
    (functools.partial(EVERYTHING, 'typed_k'), 64),
  ],
)
def test_incremental_from_a_form_equals_the_whole_formula(make, chunk):
  """What lies right of the open node is finished, unlike in a derivation."""
  grammar = make()
  network = heads.make(grammar, width=32)
  tables = tables_of(network, parameters.random(network, grammar))
  formulas = grammar_lib.random_formulas(grammar, jax.random.key(6), 40)
  states = forms_of(grammar, formulas, np.random.default_rng(0))
  pending = np.asarray(grammar.is_nonterminal)[np.asarray(states.tokens)]
  np.testing.assert_array_equal(pending.sum(axis=1), np.ones(GAMES))
  # Some are the start symbol, and some have much above and right of the node.
  lengths = (np.asarray(states.tokens) > 0).sum(axis=1)
  rest = lengths - pending.argmax(axis=1)
  assert (lengths == 1).any() and ((rest > 2) & (lengths > 5)).any()
  begun = jax.jit(forms.begin)(
    contexts.make(grammar), tables, grammar.is_nonterminal, states.tokens
  )
  played = jax.device_get(play(grammar, jax.random.key(7), states))
  read = begun.contexts, begun.tables
  check_steps(grammar, tables, read, begun.h, begun.memory, played, chunk)


@pytest.mark.parametrize(
  ('rows', 'message'),
  [
    ([('Expr', 'Add Expr Abs Expr', 2)], 'operator beside its path'),
    ([('Expr', 'UnaryOp Expr', 1), ('UnaryOp', 'Abs', 0)], 'masked operator'),
    ([('UnaryOp', 'Abs', 0)], "'Abs' is an operator without its operands"),
  ],
)
def test_incremental_refuses_what_it_cannot_follow(rows, message):
  rows = [('Expr', 'close', 0), *rows]
  grammar = grammar_lib.from_rows(rows, vocab_lib.make_vocab(), max_length=4)
  with pytest.raises(ValueError, match=message):
    contexts.make(grammar)
