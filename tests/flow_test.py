"""The stream: order, room, full calls, and a node a call."""

import collections

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphajax.factor import flow as flow_lib
from alphajax.factor import plan
from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib
from alphajax.language import vocab
from alphajax.language.formula import Formula

GRAMMAR = grammar_lib.make('sem_k', max_length=10)
DRAWN = grammar_lib.random_formulas(GRAMMAR, jax.random.key(0), 400)
FEATURES = len(vocab.FEATURES)
MOST = 4


def make(formulas, capacity, most=MOST):
  """(graph, distinct nodes of formulas, held values, flow)."""
  graph = plan.Graph()
  for name in vocab.FEATURES:
    graph.add(Formula(name))
  roots = list(dict.fromkeys(map(graph.add, formulas)))
  held = collections.OrderedDict()
  flow = flow_lib.Flow(graph, held, FEATURES, capacity, lambda _: most)
  return graph, roots, held, flow


def play(graph, roots, held, flow, capacity):
  """Runs it as a store does: (calls in order, roots that found no room)."""
  calls, refused, coming = [], [], list(roots)
  while True:
    call = flow.full()
    if call is None and coming:
      if flow.let_in(coming[0]):
        coming.pop(0)
        continue
      if flow.is_empty:
        refused.append(coming.pop(0))
        continue
    call = call or flow.fullest()
    if call is None:
      return calls, refused
    group, nodes = call
    calls.append(call)
    if group == flow_lib.FINISH:
      assert all(node in held or node < FEATURES for node in nodes)
      flow.finished(nodes)
      continue
    for node in flow.surplus(max(0, len(held) + len(nodes) - capacity)):
      del held[node]
    for node in nodes:
      row = graph.nodes[node]
      assert node not in held and graph.groups[node] == group
      assert all(i in held or i < FEATURES for i in row.inputs)
    held.update(dict.fromkeys(nodes, 0))
    assert len(held) <= capacity
    flow.computed(nodes)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(DRAWN), min_size=1), st.integers(4, 40))
def test_everything_is_computed_after_its_inputs_within_the_room(
  formulas, capacity
):
  graph, roots, held, flow = make(formulas, capacity)
  for _ in range(2):  # Again, from what happens to be held.
    calls, refused = play(graph, roots, held, flow, capacity)
    finished = [
      node for group, nodes in calls if group == flow_lib.FINISH
      for node in nodes
    ]  # fmt: skip
    assert sorted([*finished, *refused]) == sorted(roots)
    assert all(0 < len(nodes) <= MOST for _, nodes in calls)
    for root in refused:
      below = graph.missing(root, lambda node: node < FEATURES)
      assert len(below) > capacity
    assert flow.is_empty


def test_with_room_for_all_each_node_is_computed_once():
  graph, roots, held, flow = make(DRAWN, 10**6)
  calls, _ = play(graph, roots, held, flow, 10**6)
  nodes = [n for group, some in calls if group != flow_lib.FINISH for n in some]
  assert sorted(nodes) == list(range(FEATURES, len(graph.nodes)))
  assert set(held) == set(nodes)
  # Hardly more calls than there must be: nobody runs too early.
  counts = collections.Counter(graph.groups[node] for node in nodes)
  least = sum(-(-count // MOST) for count in counts.values())
  made = sum(group != flow_lib.FINISH for group, _ in calls)
  assert least <= made <= 1.15 * least
  # What is large would be forgotten first.
  small = [graph.sizes[node] <= flow_lib.KEPT_SIZE for node in held]
  assert small == sorted(small) and 0 < sum(small) < len(small)
  # Nothing is computed again.
  again, _ = play(graph, roots, held, flow, 10**6)
  assert {group for group, _ in again} == {flow_lib.FINISH}


@pytest.mark.parametrize('capacity', [60, 400])
def test_most_calls_are_full(capacity):
  texts = [
    f'CSRank(Mean({a}/{b},20)-Mean({b}/{a},{t}))'
    for t in (20, 30, 40)
    for a in vocab.FEATURES
    for b in vocab.FEATURES
    if a != b
  ]
  graph, roots, held, flow = make(map(formula_lib.parse, texts), capacity)
  calls, _ = play(graph, roots, held, flow, capacity)
  nodes = sum(len(some) for _, some in calls)
  assert nodes >= 0.95 * MOST * len(calls)


def test_room_is_that_of_what_is_unread():
  texts = ['high-low', '(high-low)/close', 'Mean(volume,20)']
  formulas = map(formula_lib.parse, texts)
  graph, (spread, share, mean), held, flow = make(formulas, 3)
  assert flow.let_in(spread) and flow.let_in(share)
  assert flow.let_in(mean)  # A difference that two read takes one place.
  more = graph.add(formula_lib.parse('Mean(open,20)'))
  assert not flow.let_in(more)
  seen = []
  while call := flow.fullest():
    seen.append(call)
    if call[0] == flow_lib.FINISH:
      flow.finished(call[1])
    else:
      held.update(dict.fromkeys(call[1], 0))
      flow.computed(call[1])
  assert sorted(n for g, some in seen for n in some if g == ('', None)) == [
    spread, share, mean,
  ]  # fmt: skip
  # All is read: any of them may go, the large one first.
  assert flow.surplus(3)[0] == share and len(flow.surplus(3)) == 3
  assert flow.let_in(more)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(DRAWN), min_size=1), st.integers(10, 40))
def test_of_single_nodes_what_became_ready_last_is_first(formulas, capacity):
  graph, roots, held, _ = make(formulas, capacity)
  flow = flow_lib.Flow(graph, held, FEATURES, capacity, drop=True)
  for root in roots:
    assert flow.let_in(root)  # Nothing else is on its way.
    is_held = root in held or root < FEATURES
    waiting, made = None, []
    while call := flow.full():
      group, (node,) = call
      assert waiting in (None, node)
      made.append(node)
      if group == flow_lib.FINISH:
        flow.finished([node])
        continue
      for old in flow.surplus(max(0, len(held) + 1 - capacity)):
        del held[old]
      held[node] = 0
      # Its reader goes next, where that waits for nothing else.
      waiting = next(
        (
          reader
          for reader in graph.missing(root, lambda n: n < FEATURES or n in held)
          if node in graph.nodes[reader].inputs
          and all(i in held or i < FEATURES for i in graph.nodes[reader].inputs)
        ),
        None,
      )
      flow.computed([node])
    assert made[-1] == root and (made == [root] or not is_held)
    # What is large was dropped once it was read.
    assert all(graph.sizes[node] <= flow_lib.KEPT_SIZE for node in held)
    assert flow.room == capacity and flow.is_empty
