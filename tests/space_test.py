"""Exact sizes of languages, against enumeration."""

import itertools

import commands
import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from alphajax.analysis import space
from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib
from alphajax.language import presets, rpn
from alphajax.language import vocab as vocab_lib

SMALL = dict(
  features=['close', 'volume'],
  constants=[0.1],
  windows=[5, 10],
  operators=['Abs', 'Log', 'Add', 'Sub', 'Mean', 'Cov'],
)
POOL = [
  ('Expr', 'volume', 0),
  ('Expr', 'Other', 1),
  ('Expr', 'Abs Expr', 1),
  ('Expr', 'Abs close', 2),
  ('Expr', 'Abs Abs Expr', 1),
  ('Expr', 'Add Expr Expr', 2),
  ('Expr', 'Add close Expr', 1),
  ('Expr', 'Add Other Abs close', 2),
  ('Expr', 'Sub Other Expr', 1),
  ('Expr', 'Mul Expr 0.1', 1),
  ('Expr', 'Mul 0.1 Other', 2),
  ('Expr', 'Mean Expr Num', 2),
  ('Expr', 'RollingOp Expr 5', 1),
  ('Expr', 'Cov Expr Other Num', 1),
  ('Other', 'Abs Expr', 2),
  ('Other', 'Add Expr Expr', 3),
]
ALWAYS = [
  ('Expr', 'close', 0),
  ('Other', 'close', 1),
  ('Num', '5', 0),
  ('Num', '10', 1),
  ('RollingOp', 'Mean', 1),
  ('RollingOp', 'Std', 0),
]


def enumerate_formulas(grammar):
  """Formula -> its least length, by rewriting sentential forms."""
  lhs, growth = np.asarray(grammar.lhs), np.asarray(grammar.growth)
  bodies = [[w for w in row if w] for row in np.asarray(grammar.rhs).tolist()]
  nonterminal, need = np.asarray(grammar.is_nonterminal), grammar.need.tolist()
  todo, seen, found = [((grammar.start,), 0)], set(), {}
  while todo:
    form, length = todo.pop()
    if (form, length) in seen:
      continue
    seen.add((form, length))
    site = next((i for i, s in enumerate(form) if nonterminal[s]), None)
    if site is None:
      formula = grammar_lib.formula_of(grammar, np.asarray(form))
      found[formula] = min(length, found.get(formula, length))
      continue
    for rule in np.flatnonzero(lhs == form[site]).tolist():
      new = (*form[:site], *bodies[rule], *form[site + 1 :])
      total = length + int(growth[rule])
      if total + sum(need[s] for s in new) <= grammar.max_length:
        todo.append((new, total))
  return found


def counts(lengths, max_length):
  return [list(lengths).count(n) for n in range(max_length + 1)]


def check(grammar):
  found, least = enumerate_formulas(grammar), {}
  for formula, length in found.items():
    key = formula_lib.key(formula)
    least[key] = min(length, least.get(key, length))
  expected = counts(found.values(), grammar.max_length)
  assert space.sizes(grammar) == expected
  expected = counts(least.values(), grammar.max_length)
  assert space.sizes(grammar, distinct=True) == expected


@pytest.mark.parametrize(
  ('name', 'max_length'), [('sem_k', 5), ('sem', 2), ('syn', 2)]
)
def test_presets_equal_enumeration(name, max_length):
  check(grammar_lib.make(name, max_length=max_length, **SMALL))


def test_other_kinds_equal_enumeration():
  """Conditions, levels and groups; If has three operands."""
  operators = ('Gt', 'Eq', 'And', 'Not', 'If', 'Quantile', 'GroupRank', 'Slope')
  for name, max_length in (('sem_k', 4), ('syn', 2)):
    check(
      grammar_lib.make(
        name,
        max_length=max_length,
        features=['close', 'industry'],
        constants=[0.8, -1],
        windows=[5],
        operators=operators,
      )
    )


def test_the_papers_symbols_equal_enumeration():
  for max_length in (0, 1, 2, 3):
    check(grammar_lib.make(max_length=max_length))


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(
  rows=st.lists(st.sampled_from(POOL), unique=True, min_size=2, max_size=7),
  max_length=st.integers(0, 4),
)
def test_ambiguous_rows_equal_enumeration(rows, max_length):
  """Rules that write one formula in many ways, at different lengths."""
  vocab = vocab_lib.make_vocab(['close', 'volume'], [0.1], [5, 10])
  check(grammar_lib.from_rows([*ALWAYS, *rows], vocab, max_length=max_length))


def test_sem_k_follows_the_recurrence_of_definition_3():
  """Formulas of length k over the paper's symbols, up to K = 20."""
  f = [6]
  for k in range(1, 21):
    pairs = [
      sum(f[i] * f[n - i] for i in range(n + 1)) if n >= 0 else 0
      for n in (k - 2, k - 3)
    ]
    leaf = 7 * 6 + 3 * 6 + 15 * 3
    f.append(
      4 * f[k - 1]
      + 7 * pairs[0]
      + (leaf * f[k - 2] if k > 1 else 0)
      + 2 * 3 * pairs[1]
    )
  assert space.sizes(grammar_lib.make(max_length=20)) == f
  # The sizes that the README and the figure show.
  assert list(itertools.accumulate(f))[:3] == [6, 30, 1008]
  distinct = space.sizes(grammar_lib.make(max_length=20), distinct=True)
  assert all(d <= n for d, n in zip(distinct, f, strict=True))


def test_printed_recurrences_equal_the_grammars_they_describe():
  vocab = vocab_lib.make_vocab(
    ['a', 'b', 'c', 'd', 'e'], [], [], ['Abs', 'Log', 'Add', 'Sub', 'Pow']
  )
  rows = [('Expr', name, 1) for name in 'abcde']
  rows += [('Expr', f'{n} Expr', 1) for n in ('Abs', 'Log')]
  rows += [('Expr', f'{n} Expr Expr', 1) for n in ('Add', 'Sub', 'Pow')]
  grammar = grammar_lib.from_rows(rows, vocab, max_length=7)
  assert space.sizes(grammar) == space.printed_syn(vocab, 7)
  vocab = vocab_lib.make_vocab(**SMALL)
  rows = [('Expr', name, 1) for name in ('close', 'volume')]
  rows += [('Expr', f'{n} Expr', 1) for n in ('Abs', 'Log')]
  rows += [
    ('Expr', 'Add Expr Expr', 1),
    ('Expr', 'Add Expr 0.1', 2),
    ('Expr', 'Sub 0.1 Expr', 2),
    ('Expr', 'Mean Expr Num', 1),
    ('Expr', 'Cov Expr Expr Num', 1),
    ('Num', '5', 1),
    ('Num', '10', 1),
  ]
  grammar = grammar_lib.from_rows(rows, vocab, max_length=9)
  assert space.sizes(grammar) == space.printed_sem(vocab, 9)


def test_by_symbols_counts_symbols():
  vocab = vocab_lib.make_vocab(**SMALL)
  rows = space.by_symbols(presets.sem_rows(vocab), vocab)
  grammar = grammar_lib.from_rows(rows, vocab, max_length=6)
  found = enumerate_formulas(grammar)
  assert all(formula_lib.size(f) == length for f, length in found.items())
  assert space.sequences(vocab, 3) == 11**3


def test_rpn_writes_exactly_the_formulas_of_its_rows():
  """Every game played: no dead end, and each formula is reached once."""
  small = SMALL | {'operators': ['Log', 'Add', 'Mean', 'Cov'], 'windows': [5]}
  language = rpn.make(max_length=5, **small)
  step = jax.jit(rpn.step)
  todo, finals = [rpn.init(language)], []
  while todo:
    state = todo.pop()
    if state.terminated:
      finals.append(rpn.formula_of(language, state.tokens))
      continue
    valid = np.flatnonzero(~np.asarray(state.invalid_actions))
    assert valid.size
    todo += [step(language, state, action) for action in valid]
  assert len(finals) == len(set(finals)) == sum(space.sizes(language.trees))
  assert set(finals) == set(enumerate_formulas(language.trees))


def test_the_command(tmp_path):
  script = commands.ROOT / 'scripts' / 'figure8_space.py'
  result = commands.run(script, f'--out={tmp_path}', '--length=10')
  assert result.returncode == 0, result.stderr
  assert '8053993425792  4248931130166' in result.stdout
  rows = (tmp_path / 'sem_k.csv').read_text().split()
  assert rows[:2] == ['K,formulas,distinct', '1,30,30']
  header, first, *_ = (tmp_path / 'space.csv').read_text().splitlines()
  assert header.startswith('n,sequences,') and first.startswith('1,43,')
  assert (tmp_path / 'figure8.png').stat().st_size > 10_000
