"""Games that begin as a formula of the pool does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language.formula import parse
from alphajax.methods import openings
from alphajax.search import evaluators, mcts

TEXTS = ('Corr(close,volume,20)', 'Mean(close/open,10)-low')


def language(name):
  return environment.make(name, max_length=8, windows=(10, 20))


def derivations(grammar):
  return [environment.derivation(grammar, parse(text)) for text in TEXTS]


def prefix(opening):
  """The actions of an opening, behind which nothing may follow."""
  free = np.flatnonzero(opening < 0)[0]
  assert (opening[free:] == -1).all()
  return opening[:free].tolist()


def draw(grammar, seed=0, formulas=TEXTS, num_games=400, share=0.5):
  return openings.draw(
    grammar, jax.random.key(seed), [*map(parse, formulas)], num_games, share
  )


@pytest.mark.parametrize('name', ['sem_k', 'syn', 'rpn'])
def test_draws_beginnings_of_the_formulas(name):
  grammar = language(name)
  drawn = [prefix(row) for row in draw(grammar)]
  lengths = [set(), set()]
  for actions in filter(None, drawn):
    begun = [d[: len(actions)] == actions for d in derivations(grammar)]
    assert any(begun)
    if sum(begun) == 1:
      lengths[begun.index(True)].add(len(actions))
  for seen, actions in zip(lengths, derivations(grammar), strict=True):
    # Every length but that of the finished formula.
    assert max(seen) == len(actions) - 1 and len(seen) > 2
  begins = np.mean([bool(actions) for actions in drawn])
  assert 0.3 < begins < 0.5  # Half of the games, and some of length 0.


def test_who_draws_what():
  grammar = language('sem_k')
  assert (draw(grammar, share=0.0) == -1).all()
  assert (draw(grammar, formulas=()) == -1).all()
  np.testing.assert_array_equal(draw(grammar), draw(grammar))
  assert (draw(grammar) != draw(grammar, seed=1)).any()
  # Too long for the language, as canonical forms may be for rules of one's own.
  unknown = 'Mean(Mean(Mean(Mean(Mean(close,10),10),10),10),10)*close*open'
  assert (draw(grammar, formulas=(unknown,)) == -1).all()
  assert (draw(grammar, formulas=(unknown, TEXTS[0])) >= 0).any()


@pytest.mark.parametrize('name', ['sem_k', 'rpn'])
def test_games_play_their_openings(name):
  grammar, num_games = language(name), 24
  drawn = draw(grammar, num_games=num_games, share=0.7)

  def uniform(params, tokens):
    del params
    batch = tokens.shape[0]
    return jnp.zeros((batch, grammar.num_actions)), jnp.zeros(batch)

  def play(drawn):
    return jax.jit(
      lambda drawn: mcts.self_play(
        (),
        jax.random.key(0),
        evaluator=evaluators.from_apply(uniform),
        grammar=grammar,
        num_games=num_games,
        num_simulations=8,
        openings=drawn,
      )
    )(drawn)

  played = play(drawn)
  formulas = environment.formulas_of(grammar, played.final_tokens)
  active = np.asarray(played.active)
  for game, (row, formula) in enumerate(zip(drawn, formulas, strict=True)):
    assert formula_lib.parse(str(formula)) == formula
    actions, opening = environment.derivation(grammar, formula), prefix(row)
    assert actions[: len(opening)] == opening
    # What nobody chose is not learned from; the rest is, to the end.
    moves = np.arange(grammar.max_steps)
    chosen = (moves >= len(opening)) & (moves < len(actions))
    np.testing.assert_array_equal(active[:, game], chosen)
  free = play(np.full_like(drawn, -1))
  for ours, plain in zip(
    jax.tree.leaves(free), jax.tree.leaves(play(None)), strict=True
  ):
    np.testing.assert_array_equal(ours, plain)
