"""Planning: isomorphic subexpressions are one node."""

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
