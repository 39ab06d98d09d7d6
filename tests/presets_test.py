"""Languages with operators beyond the paper's: typed rows, play, counting."""

import collections
import functools

import everything
import jax
import numpy as np
import pytest

from alphajax.analysis import space
from alphajax.data.features import GROUPS
from alphajax.language import environment, presets, vocab
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula

LANGUAGES = (*presets.PRESETS, 'rpn')


@functools.cache
def make(name, max_length=10):
  return everything.make(name, max_length)


def check_types(formula):
  """Every operand is of the type that its slot asks for."""
  row = vocab.OPERATORS.get(formula.symbol)
  if row is None:
    return
  for slot, arg in zip(vocab.SLOTS[row.kind], formula.args, strict=True):
    if slot == 'condition':
      assert vocab.OPERATORS[arg.symbol].kind in vocab.CONDITIONS, formula
    elif slot == 'level':
      assert 0 <= float(arg.symbol) <= 1, formula
    elif slot == 'window':
      assert int(arg.symbol) in everything.OPTIONS['windows'], formula
    else:
      assert (arg.symbol in GROUPS) == (slot == 'group'), formula
      check_types(arg)


@pytest.mark.parametrize('name', LANGUAGES)
def test_random_play_is_typed_and_uses_everything(name):
  language = make(name)
  formulas = environment.random_formulas(language, jax.random.key(0), 4000)
  for formula in formulas:
    check_types(formula)
  used = {n.symbol for f in formulas for n in formula_lib.nodes(f)}
  assert used >= set(vocab.OPERATORS) | set(everything.FEATURES)
  deepest = max(map(formula_lib.lookback, formulas))
  assert deepest <= environment.lookback(language)


@pytest.mark.parametrize('name', LANGUAGES)
def test_round_trips(name):
  """Text, tokens and derivations of random formulas."""
  language = make(name, 8)
  step = jax.jit(environment.step)
  formulas = environment.random_formulas(language, jax.random.key(1), 200)
  for i, formula in enumerate(formulas):
    text = formula_lib.to_text(formula)
    assert formula_lib.parse(text, everything.FEATURES) == formula
    tokens = environment.tokens_of(language, formula)
    assert environment.formula_of(language, np.asarray(tokens)) == formula
    actions = environment.derivation(language, formula)
    if i % 20 == 0:
      state = environment.init(language)
      for action in actions:
        assert not state.terminated and not state.invalid_actions[action]
        state = step(language, state, action)
      assert environment.formula_of(language, state.tokens) == formula


SMALL = {
  'operators': ('Gt', 'Eq', 'And', 'Not', 'If', 'Quantile', 'GroupRank'),
  'features': ('close', 'industry'),
  'constants': (0.8, -1),
  'windows': (5,),
}


def play_everything(language):
  """The formulas at the ends of all games, by their lengths."""
  observe = jax.jit(jax.vmap(functools.partial(environment.step, language)))
  found, seen = {}, set()
  states = [environment.init(language)]
  while states:
    batch = jax.tree.map(lambda *x: np.stack(x), *states)
    rows, actions = np.nonzero(~batch.invalid_actions)
    # Padded to a power of two: a program for each size.
    padded = np.resize(rows, 1 << int(len(rows) - 1).bit_length())
    before = jax.tree.map(lambda x, padded=padded: x[padded], batch)
    after = observe(before, np.resize(actions, len(padded)))
    after = jax.tree.map(np.asarray, after)
    states = []
    for i in range(len(rows)):
      state = jax.tree.map(lambda x, i=i: x[i], after)
      if state.tokens.tobytes() in seen:
        continue
      seen.add(state.tokens.tobytes())
      if state.terminated:
        formula = environment.formula_of(language, state.tokens)
        found[formula] = int(state.length)
      else:
        assert not state.invalid_actions.all()
        states.append(state)
  return found


@pytest.mark.parametrize('name, max_length', [('rpn', 7), ('sem_k', 4)])
def test_play_reaches_exactly_what_the_rows_write(name, max_length):
  """Stack masks and rows are two accounts of one language."""
  language = environment.make(name, max_length=max_length, **SMALL)
  found = play_everything(language)
  for formula in found:
    check_types(formula) if name == 'sem_k' else None
  lengths = collections.Counter(found.values())
  expected = space.sizes(getattr(language, 'trees', language))
  assert [lengths[n] for n in range(max_length + 1)] == expected
  distinct = collections.defaultdict(set)
  for formula, length in found.items():
    distinct[length].add(formula_lib.key(formula))
  expected = space.sizes(getattr(language, 'trees', language), distinct=True)
  assert [len(distinct[n]) for n in range(max_length + 1)] == expected


@pytest.mark.parametrize('name', LANGUAGES)
@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'operators': ('Abs', 'If')}, 'If needs a condition.*comparison such as'),
    ({'operators': ('Not', 'Abs')}, 'Not needs a condition'),
    (
      {'operators': ('Quantile', 'Abs'), 'constants': (-0.1, 2)},
      'Quantile needs a level in .0, 1. .*language.constants',
    ),
    (
      {'operators': ('GroupRank', 'Abs'), 'features': ('close', 'open')},
      'GroupRank needs a feature of group codes .*sector, industry',
    ),
    (
      {'operators': ('Quantile', 'Div'), 'windows': ()},
      'Quantile needs a window .*language.windows',
    ),
  ],
)
def test_what_an_operator_lacks(name, options, message):
  with pytest.raises(ValueError, match=message):
    everything.make(name, **options)


@pytest.mark.parametrize(
  ('name', 'text'),
  [
    ('sem_k', 'If(And(Gt(close,open),Lt(0.2,volume)),0.8,-0.1)'),
    ('sem_k', 'Mean(Gt(close,Ref(close,5)),20)'),
    ('syn', 'Quantile(0.8,0.2,20)+If(Eq(close,0.2),close,0.2)'),
    ('rpn', 'If(Not(Ge(0.2,close)),GroupNeutral(close,industry),0.2)'),
    ('typed_k', 'If(Gt(close,open),high,low)/close'),
    ('typed_k', 'Quantile(close,0.8,5)/close'),
    ('typed_k', 'Slope(volume,20)/volume-ArgMax(high,5)'),
    ('typed_k', 'GroupRank(close/open,industry)'),
  ],
)
def test_what_can_be_written(name, text):
  formula = formula_lib.parse(text, everything.FEATURES)
  assert environment.derivation(make(name, 20), formula)


@pytest.mark.parametrize(
  ('name', 'text'),
  [
    ('sem_k', 'If(close,open,high)'),
    ('sem_k', 'And(close,Gt(close,open))'),
    ('sem_k', 'industry+close'),
    ('sem_k', 'Gt(0.2,0.8)'),
    ('rpn', 'If(close,open,high)'),
    ('rpn', 'GroupRank(close,open)'),
    ('typed_k', 'Gt(close,volume)'),
    ('typed_k', 'If(Gt(close,open),close,volume)/close'),
    ('typed_k', 'Slope(close,5)'),
    ('typed_k', 'Product(close,5)/close'),
    ('typed_k', 'GroupRank(close,industry)'),
  ],
)
def test_what_cannot_be_written(name, text):
  formula = formula_lib.unchecked(text)  # Not all of them can be read.
  with pytest.raises(ValueError, match='cannot write'):
    environment.derivation(make(name, 20), formula)


def test_canonical_forms_of_conditions():
  def key(text):
    return formula_lib.key(formula_lib.parse(text))

  assert key('Eq(open,close)') == key('Eq(close,open)')
  assert key(
    'And(Gt(a,b),Ne(b,a))'.replace('a', 'low').replace('b', 'high')
  ) == (key('And(Ne(low,high),Gt(low,high))'))
  assert key('Gt(open,close)') != key('Gt(close,open)')
  assert key('If(Gt(open,close),high,low)') != key(
    'If(Gt(open,close),low,high)'
  )


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('Quantile(close,80,20)', r'level of Quantile .*\[0, 1\], not 80, as in'),
    ('Quantile(close,open,20)', 'not open, as in Quantile.close,0.8,20'),
    ('Quantile(close,20,0.8)', 'level of Quantile must be a number'),
    ('If(close,open)', 'If takes 3 arguments, not 2'),
  ],
)
def test_messages(text, message):
  with pytest.raises(formula_lib.FormulaError, match=message):
    formula_lib.parse(text)
  assert formula_lib.parse('Quantile(_,_,_)', holes=True) == Formula(
    'Quantile', (Formula('_'),) * 3
  )
