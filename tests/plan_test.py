"""Planning: shared subexpressions, and rounds that respect what they read."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from alphajax.factor import plan
from alphajax.language import formula as formula_lib
from alphajax.language import vocab
from alphajax.language.formula import Formula

LEAVES = [*vocab.FEATURES, '0.1', '-0.05']


def _extend(children):
  window = st.sampled_from(['5', '20']).map(Formula)
  calls = []
  for name, row in vocab.OPERATORS.items():
    windowed = row.kind in vocab.WINDOWED
    args = [children] * (row.arity - windowed) + [window] * windowed
    calls.append(st.builds(Formula, st.just(name), st.tuples(*args)))
  return st.one_of(calls)


formulas = st.recursive(
  st.sampled_from(LEAVES).map(Formula), _extend, max_leaves=12
)


def text_of(graph, node):
  """A node in call notation, read back from the graph."""
  row = graph.nodes[node]
  args = [text_of(graph, i) for i in row.inputs]
  args += [] if row.window is None else [str(row.window)]
  return f'{row.symbol}({",".join(args)})' if args else row.symbol


def subexpressions(formula):
  """Canonical keys of all values that a formula needs; no windows."""
  found = {formula_lib.key(formula)}
  args = formula.args[:-1] if formula_lib.is_windowed(formula) else formula.args
  return found.union(*map(subexpressions, args))


@settings(deadline=None)
@given(st.lists(formulas, min_size=1, max_size=6))
def test_a_node_for_each_distinct_subexpression(batch):
  graph = plan.Graph()
  roots = [graph.add(formula) for formula in batch]
  for formula, root in zip(batch, roots, strict=True):
    assert text_of(graph, root) == formula_lib.key(formula)
  texts = [text_of(graph, node) for node in range(len(graph.nodes))]
  assert len(set(texts)) == len(texts)
  assert set(texts) == set().union(*map(subexpressions, batch))
  for node, row in enumerate(graph.nodes):
    assert all(i < node for i in row.inputs)
  # Again: nothing new.
  assert [graph.add(formula) for formula in batch] == roots
  assert len(graph.nodes) == len(texts)


def test_isomorphic_formulas_share_their_nodes():
  graph = plan.Graph()
  root = graph.add(formula_lib.parse('Corr(Mean(high+low,20),volume,30)'))
  size = len(graph.nodes)
  twin = formula_lib.parse('Corr(volume,Mean(low+high,20),30)')
  assert graph.add(twin) == root and len(graph.nodes) == size
  part = graph.add(formula_lib.parse('Mean(low+high,20)'))
  assert part < root and len(graph.nodes) == size
  # Another window or another order of an ordered operator is another value.
  graph.add(formula_lib.parse('Mean(low+high,30)'))
  graph.add(formula_lib.parse('high-low'))
  graph.add(formula_lib.parse('low-high'))
  assert len(graph.nodes) == size + 3


@settings(deadline=None)
@given(st.lists(formulas, min_size=1, max_size=6), st.randoms())
def test_rounds_compute_each_node_once_after_its_inputs(batch, random):
  graph = plan.Graph()
  for formula in batch:
    graph.add(formula)
  everything = range(len(graph.nodes))
  # Features are always known, other nodes may be.
  known = {
    n
    for n in everything
    if graph.nodes[n].symbol in vocab.FEATURES or random.random() < 0.2
  }
  wanted = [n for n in everything if n not in known]
  random.shuffle(wanted)
  done = set(known)
  for batch_of_nodes in plan.rounds(graph, wanted):
    assert batch_of_nodes.nodes
    for node in batch_of_nodes.nodes:
      row = graph.nodes[node]
      assert node not in done
      assert set(row.inputs) <= done
      assert batch_of_nodes.window == row.window
      if batch_of_nodes.symbol == 'number':
        assert formula_lib.is_number(Formula(row.symbol))
      else:
        assert batch_of_nodes.symbol == row.symbol
    done |= set(batch_of_nodes.nodes)
  assert done == set(everything)


def test_rounds_are_few_and_large():
  graph = plan.Graph()
  texts = [
    f'CSRank(Mean({a}/{b},20)-Mean({b}/{a},20))'
    for a in vocab.FEATURES
    for b in vocab.FEATURES
    if a != b
  ]
  for text in texts:
    graph.add(formula_lib.parse(text))
  nodes = [
    n for n, row in enumerate(graph.nodes) if row.symbol not in vocab.FEATURES
  ]
  found = list(plan.rounds(graph, nodes))
  assert [(r.symbol, len(r.nodes)) for r in found] == [
    ('Div', 30), ('Mean', 30), ('Sub', 30), ('CSRank', 30),
  ]  # fmt: skip


def test_missing_stops_at_what_is_known():
  graph = plan.Graph()
  root = graph.add(formula_lib.parse('Mean(high-low,20)*Mean(high-low,30)'))
  texts = np.array([text_of(graph, n) for n in range(len(graph.nodes))])

  def missing(*known):
    ids = {int(np.flatnonzero(texts == text)[0]) for text in known}
    return set(texts[graph.missing(root, ids.__contains__)])

  assert missing() == set(texts)
  both = {'Mean(Sub(high,low),20)', 'Mean(Sub(high,low),30)'}
  assert missing('Sub(high,low)') == {texts[root], *both}
  assert missing(*both) == {texts[root]}
  assert missing(texts[root]) == set()
