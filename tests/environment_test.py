"""Every language as one environment: random play, derivations, errors."""

import functools

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from alphajax.data import simulate
from alphajax.factor import evaluate
from alphajax.language import environment, rpn
from alphajax.language import formula as formula_lib
from alphajax.language import vocab as vocab_lib
from alphajax.language.formula import Formula, parse

LANGUAGES = ('sem_k', 'sem', 'syn', 'rpn')
TABLE_7 = {'unary': 1, 'rolling': 2, 'paired': 3}  # Binary operators: 2.


@functools.cache
def make(name, max_length=6):
  return environment.make(name, max_length=max_length)


def length_of(name, formula):
  """What the bound of a language counts, read off the tree."""
  if name == 'rpn':
    return formula_lib.size(formula)
  total = 0
  for node in formula_lib.nodes(formula):
    row = vocab_lib.OPERATORS.get(node.symbol)
    if row:
      total += TABLE_7.get(row.kind, 2) if name == 'sem_k' else 1
    if node.symbol == 'Log' and name != 'syn':
      total -= 1  # The Abs that alpha-Sem writes into every Log.
  return total


def drawn(language, seed, count=1500):
  """Formulas; a program is compiled for each number of them."""
  return environment.random_formulas(language, jax.random.key(seed), count)


@functools.cache
def stepper():
  return jax.jit(environment.step)


@functools.cache
def starter():
  return jax.jit(environment.init)


def play(language, actions):
  state = starter()(language)
  for action in actions:
    invalid = np.asarray(state.invalid_actions)
    assert not np.asarray(state.terminated) and not invalid[action]
    state = stepper()(language, state, action)
  return state


@pytest.mark.parametrize('name', LANGUAGES)
@hypothesis.settings(max_examples=8, deadline=None)
@hypothesis.given(
  seed=st.integers(0, 2**31 - 1), max_length=st.sampled_from([1, 10])
)
def test_random_play_ends_in_a_formula_within_its_bound(name, seed, max_length):
  language = make(name, max_length)
  formulas = drawn(language, seed, 16)
  for formula in formulas:
    assert parse(formula_lib.to_text(formula)) == formula
    assert length_of(name, formula) <= max_length
    assert formula_lib.lookback(formula) <= environment.lookback(language)
    tokens = environment.tokens_of(language, formula)
    assert environment.formula_of(language, np.asarray(tokens)) == formula
  for formula in formulas[:4]:  # Round trip through the rules.
    state = play(language, environment.derivation(language, formula))
    assert state.terminated
    assert environment.formula_of(language, state.tokens) == formula
    assert int(state.length) == length_of(name, formula)


@st.composite
def formulas_by_definition(draw, name):
  """Formulas of a language, drawn from its definition, not from its rules."""
  number = st.sampled_from(vocab_lib.CONSTANTS).map(formula_lib.number)
  window = st.sampled_from(vocab_lib.WINDOWS).map(formula_lib.number)
  feature = st.sampled_from(vocab_lib.FEATURES).map(Formula)

  def expression(depth):
    if depth == 0 or draw(st.integers(0, 3)) == 0:
      return draw(st.one_of(feature, number) if name == 'syn' else feature)
    operators = [vocab_lib.OPERATORS[n] for n in vocab_lib.PAPER_OPERATORS]
    row = draw(st.sampled_from(operators))
    args = [expression(depth - 1) for _ in range(vocab_lib.OPERANDS[row.kind])]
    if row.name == 'Log' and name in ('sem', 'sem_k'):
      args = [Formula('Abs', tuple(args))]
    if row.kind.startswith('binary') and name != 'syn':
      place = draw(st.sampled_from([None, 0, 1]))
      # alpha-Sem: a constant first only where the order counts.
      if place == 0 and name != 'rpn' and row.kind == 'binary':
        place = None
      if place is not None:
        args[place] = draw(number)
    if row.kind in vocab_lib.WINDOWED:
      args.append(draw(window))
    return Formula(row.name, tuple(args))

  return expression(draw(st.integers(0, 4)))


@pytest.mark.parametrize('name', LANGUAGES)
@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(data=st.data(), slack=st.integers(0, 1))
def test_every_formula_can_be_derived(name, data, slack):
  formula = data.draw(formulas_by_definition(name))
  length = length_of(name, formula)
  language = make(name, 10)
  if length > 10:
    with pytest.raises(ValueError, match='over the bound 10'):
      environment.derivation(language, formula)
    return
  state = play(language, environment.derivation(language, formula))
  assert state.terminated and int(state.length) == length
  assert environment.formula_of(language, state.tokens) == formula
  if name == 'rpn' and slack:
    # It may be written further while there is room, and ends by itself after.
    actions = environment.derivation(language, formula)
    assert len(actions) == min(length + 1, 10)


def test_the_languages_are_nested():
  """alpha-Sem-k within alpha-Sem within alpha-Syn, Log left aside."""
  options = dict(
    max_length=5, operators=[n for n in vocab_lib.PAPER_OPERATORS if n != 'Log']
  )
  small, middle, large = (
    environment.make(name, **options) for name in ('sem_k', 'sem', 'syn')
  )
  for formula in environment.random_formulas(small, jax.random.key(0), 60):
    environment.derivation(middle, formula)
  for formula in environment.random_formulas(middle, jax.random.key(1), 60):
    environment.derivation(large, formula)


@hypothesis.settings(max_examples=6, deadline=None)
@hypothesis.given(
  operators=st.sets(
    st.sampled_from(['Abs', 'Add', 'Sub', 'Mean', 'Std', 'Corr']), max_size=6
  ),
  max_length=st.integers(1, 7),
  seed=st.integers(0, 1000),
)
def test_rpn_of_any_operators_has_no_dead_end(operators, max_length, seed):
  language = rpn.make(max_length=max_length, operators=sorted(operators))
  formulas = environment.random_formulas(language, jax.random.key(seed), 32)
  for formula in formulas:
    assert formula_lib.size(formula) <= max_length
    environment.derivation(language, formula)


@pytest.mark.parametrize('name', LANGUAGES)
def test_random_play_uses_every_action(name):
  language = make(name, 10)
  formulas = drawn(language, 0)
  used = {a for f in formulas for a in environment.derivation(language, f)}
  assert used == set(range(language.num_actions))
  assert max(length_of(name, f) for f in formulas) == 10


@functools.cache
def random_values():
  """Of 25 formulas of each language, computed together: [4, 25, T, S]."""
  panel = simulate.simulate(num_days=120, num_stocks=20, alphas=()).panel
  formulas = []
  for name in LANGUAGES:
    # One window: a program is compiled for each operator and window.
    language = environment.make(name, max_length=4, windows=(20,))
    formulas += environment.random_formulas(language, jax.random.key(3), 25)
  values = np.asarray(evaluate.values(formulas, panel))
  assert values.shape == (100, *panel.mask.shape)
  return values.reshape(4, 25, *panel.mask.shape)


@pytest.mark.parametrize('name', LANGUAGES)
def test_random_formulas_evaluate(name):
  values = random_values()[LANGUAGES.index(name)]
  assert not np.isinf(values).any() and np.isfinite(values).any()


@pytest.mark.parametrize('name', LANGUAGES)
def test_terminal_states_absorb_and_allow_everything(name):
  language = make(name)
  formula = parse('Mean(close,20)')
  state = play(language, environment.derivation(language, formula))
  assert state.terminated and not np.any(state.invalid_actions)
  for action in (0, 7, language.num_actions - 1):
    chex.assert_trees_all_equal(stepper()(language, state, action), state)


@pytest.mark.parametrize('name', LANGUAGES)
def test_one_trace_serves_all_formulas(name):
  language = make(name)
  traces = []

  def step(*args):
    traces.append(args)
    return environment.step(*args)

  batched = jax.jit(jax.vmap(step, in_axes=(None, 0, 0)))
  states = jax.tree.map(lambda x: np.stack([x] * 3), environment.init(language))
  for action in (0, 1, 2):
    states = batched(language, states, np.full(3, action))
  assert len(traces) == 1


def test_rpn_spells_postfix_between_markers():
  language = make('rpn')
  formula = parse('Mean(high-0.1,20)')
  tokens = environment.tokens_of(language, formula)
  names = [language.vocab.symbols[token].name for token in tokens]
  assert names == ['<begin>', 'high', '0.1', 'Sub', '20', 'Mean', '<end>']
  actions = environment.derivation(language, formula)
  read = [
    str(environment.formula_of(language, play(language, actions[:n]).tokens))
    for n in range(len(actions) + 1)
  ]
  # Unfinished: the largest formula of the stack.
  whole = 'Mean(high-0.1,20)'
  assert read == [
    '<begin>', 'high', 'high', 'high-0.1', 'high-0.1', whole, whole,
  ]  # fmt: skip


def test_rpn_looks_back_as_far_as_its_tokens_reach():
  """Three times Ref(., 40) are seven tokens; Cov alone takes three more."""
  assert environment.lookback(make('rpn', 7)) == 120
  assert environment.lookback(make('rpn', 8)) == 120
  only_cov = rpn.make(max_length=7, operators=['Cov'])
  assert environment.lookback(only_cov) == 2 * 39


def test_rpn_masks():
  language = make('rpn')  # Six tokens.
  kinds = {s.name: s.kind for s in language.vocab.symbols}
  names = [language.vocab.symbols[i].name for i in language.token.tolist()]

  def valid(*written):
    state = play(language, [names.index(name) for name in written])
    return {kinds[names[a]] for a in np.flatnonzero(~state.invalid_actions)}

  leaves = {'feature', 'constant'}
  assert valid() == leaves
  assert valid('close') == leaves | {'window', 'unary', 'marker'}
  assert valid('0.1') == leaves
  assert valid('close', '20') == {'rolling'}
  assert valid('close', 'open', '20') == {'rolling', 'paired'}
  assert valid('0.1', 'open', '20') == {'rolling'}
  two = leaves | {'window', 'unary', 'binary', 'binary_asym'}
  assert valid('close', 'open') == two
  assert valid('close', '0.1') == {'feature', 'binary', 'binary_asym'}
  # Two neighbours that are constant need a feature more: seven tokens.
  assert valid('0.1', '0.1') == {'feature'}
  # Two tokens join three items; one is left, or a pair and its window.
  joins = {'binary', 'binary_asym', 'window'}
  assert valid('close', 'open', 'low') == {'unary', *joins}
  assert valid('close', 'Abs', 'Abs', 'Abs', 'Abs') == {'unary', 'marker'}


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('0.1', 'cannot write'),
    ('Mean(0.1,20)', 'cannot write'),
    ('0.1+0.05', 'cannot write'),
    ('Mean(close,25)', "window '25' is not in the vocabulary"),
    ('Cov(Mean(high,20),low+open,40)', 'over the bound 6'),
  ],
)
def test_what_rpn_cannot_write(text, message):
  with pytest.raises(ValueError, match=message):
    environment.derivation(make('rpn'), parse(text))


def test_rpn_refuses_tokens_of_no_game():
  language = make('rpn')
  tokens = environment.tokens_of(language, parse('high-low'))
  partial = Formula('Abs', (Formula('Expr'),))
  with pytest.raises(ValueError, match="RPN cannot write 'Expr'"):
    environment.derivation(language, partial)
  for wrong in (tokens[1:], [tokens[0], *tokens[2:]], [*tokens[:3], tokens[4]]):
    with pytest.raises(ValueError, match='tokens|operands'):
      environment.formula_of(language, np.asarray(wrong))


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'name': 'sem_j'}, "language.name is 'sem_j': expected one of sem_k, sem"),
    ({'name': 'no_such.language'}, "'no_such.language': there is no such"),
    ({'name': 'os.path'}, r'that module has no make, .* make\(\*\*options\)'),
    ({'name': 'syn', 'rules': 'Expr -> close'}, "set it to 'custom'"),
    ({'name': 'rpn', 'rules': 'Expr -> close'}, "set it to 'custom'"),
    ({'name': 'rpn', 'max_length': 0}, 'language.max_length is 0'),
    ({'name': 'syn', 'max_length': -1}, 'language.max_length is -1'),
    ({'name': 'rpn', 'features': []}, 'cannot terminate'),
    ({'name': 'rpn', 'windows': []}, 'needs a window'),
    ({'name': 'sem', 'operators': ['Log']}, 'add the operator Abs'),
    ({'name': 'syn', 'operators': ['Frob']}, "unknown operator 'Frob'"),
    ({'name': 'syn', 'windows': [2.5]}, 'is not a positive integer'),
    ({'name': 'custom'}, 'the grammar is empty'),
    ({'name': 'custom', 'rules': ' # none\n'}, 'the grammar is empty'),
    ({'name': 'custom', 'rules': 'rows.txt'}, 'neither rows .* nor a file'),
    ({'name': 'custom', 'rules': 'Expr -> close :'}, 'line 1: .* is not a row'),
    ({'name': 'custom', 'rules': 'Expr ->'}, 'an alternative is empty'),
    ({'name': 'custom', 'rules': '\nExpr -> close : x'}, 'line 2: .*increment'),
    ({'name': 'custom', 'rules': 'Expr -> Frob Expr : 1'}, "symbol 'Frob'"),
    ({'name': 'custom', 'rules': 'Expr -> Abs Expr : 1'}, 'cannot terminate'),
    ({'name': 'custom', 'rules': 'Expr -> close : 11'}, 'shortest formula has'),
    ({'name': 'custom', 'rules': 'Expr -> close | Abs Expr'}, 'no bound holds'),
    ({'name': 'custom', 'rules': 'Expr -> Mean close 7'}, "unknown window '7'"),
  ],
)  # fmt: skip
def test_bad_languages(options, message):
  with pytest.raises(ValueError, match=message):
    environment.make(**options)


TOY = '''
"""Words of a fixed length over the features, read as sums: a toy language."""
import jax
import jax.numpy as jnp
from flax import struct

from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib
from alphajax.language import vocab as vocab_lib
from alphajax.language.grammar import State


@struct.dataclass
class Sums:
  first: jax.Array  # i32[A] ids of the features.
  vocab: vocab_lib.Vocab = struct.field(pytree_node=False)
  max_tokens: int = struct.field(pytree_node=False)

  writes_prefix_trees = False

  @property
  def num_actions(self):
    return self.first.shape[0]

  @property
  def max_steps(self):
    return self.max_tokens


def make(*, max_length, features=vocab_lib.FEATURES, **unused):
  vocab = vocab_lib.make_vocab(features, (), (), ['Add'])
  ids = [i for i, s in enumerate(vocab.symbols) if s.kind == 'feature']
  return Sums(jnp.asarray(ids, jnp.int32), vocab, max_length)


def init(sums):
  tokens = jnp.zeros(sums.max_tokens, jnp.int32)
  none = jnp.zeros(sums.num_actions, bool)
  return State(tokens, jnp.int32(0), jnp.asarray(False), none)


def step(sums, state, action):
  tokens = state.tokens.at[state.length].set(sums.first[action])
  length = state.length + 1
  done = length == sums.max_tokens
  after = State(tokens, length, done, state.invalid_actions)
  return jax.tree.map(
    lambda old, new: jnp.where(state.terminated, old, new), state, after
  )


def lookback(sums):
  return 0


def random_tokens(sums, rng_key, num_formulas):
  return grammar_lib.play_out(
    init(sums), lambda s, a: step(sums, s, a), rng_key, num_formulas
  )


def formula_of(sums, tokens):
  names = [sums.vocab.symbols[t].name for t in tokens.tolist() if t]
  return formula_lib.parse('+'.join(names))
'''


def test_a_language_of_your_own_is_a_module(tmp_path, monkeypatch):
  (tmp_path / 'toy_language.py').write_text(TOY)
  monkeypatch.syspath_prepend(tmp_path)
  language = environment.make('toy_language.make', max_length=3)
  assert environment.lookback(language) == 0
  formulas = environment.random_formulas(language, jax.random.key(0), 9)
  assert all(formula_lib.size(formula) == 5 for formula in formulas)
  state = play(language, [3, 0, 4])
  assert state.terminated
  assert str(environment.formula_of(language, state.tokens)) == (
    'close+open+volume'
  )
  with pytest.raises(ValueError, match="toy_language.make', which has none"):
    environment.make('toy_language.make', rules='Expr -> close')


def no_language(**options):
  del options


def test_a_language_of_ones_own_that_is_none():
  with pytest.raises(ValueError, match='gave NoneType: expected a language'):
    environment.make(f'{__name__}.no_language')
