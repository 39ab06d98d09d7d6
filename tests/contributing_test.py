"""What CONTRIBUTING.md shows works, and every file names one version."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import alphajax
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.networks import heads
from alphajax.search import evaluators, mcts

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / 'CONTRIBUTING.md').read_text()
BLOCKS = re.findall(r'```python\n(.*?)```', TEXT, re.DOTALL)


def names_of(index):
  """What the module of a snippet defines."""
  found = {'__name__': 'shown'}
  exec(compile(BLOCKS[index], 'CONTRIBUTING.md', 'exec'), found)
  return found


def test_no_snippet_is_left_out():
  assert len(BLOCKS) == 2


@pytest.fixture(scope='module')
def language():
  return names_of(0)['make'](
    features=('close', 'volume', 'vwap'), windows=(10, 20), max_length=5,
    constants=(), operators=('Mean',),
  )  # fmt: skip


def test_the_language_writes_what_it_says(language):
  formulas = environment.random_formulas(language, jax.random.key(0), 300)
  shapes = set()
  for formula in formulas:
    assert formula == formula_lib.parse(alphajax.to_text(formula))
    left, right, window = formula.args
    assert formula.symbol in ('Corr', 'Cov') and window.symbol in ('10', '20')
    parts = [x.symbol for x in (left, right)]
    assert set(parts) <= {'CSRank', 'Delta', 'close', 'volume', 'vwap'}
    shapes.add(sum(x in ('CSRank', 'Delta') for x in parts))
  assert shapes == {0, 1, 2}  # Lengths 3, 4 and 5.
  # Delta looks back 20 days, and the window around it 19 more.
  assert environment.lookback(language) == 39


def test_the_encoder_is_blind_to_padding_and_order(language):
  bag = names_of(1)['make'](language, 8)
  tokens = jnp.array([5, 9, 11, 3])
  params = bag.init(jax.random.key(0), tokens)
  expected = bag.apply(params, tokens)
  assert expected.shape == (8,)
  for same in ([5, 9, 11, 3, 0, 0], [3, 5, 11, 9]):
    np.testing.assert_allclose(
      bag.apply(params, jnp.array(same)), expected, rtol=1e-5, atol=1e-8
    )
  other = bag.apply(params, jnp.array([5, 9, 11, 4]))
  assert not np.allclose(other, expected, rtol=1e-2)


def test_the_encoder_plays_the_language(language):
  bag = names_of(1)['make'](language, 8)
  network = heads.PolicyValue(bag, language.num_actions, 0.1)
  params = heads.init(network, language, jax.random.key(0))
  played = jax.jit(
    lambda params, rng_key: mcts.self_play(
      params, rng_key, evaluator=evaluators.make(network, language),
      grammar=language, num_games=4, num_simulations=4,
    )
  )(params, jax.random.key(1))  # fmt: skip
  written = environment.formulas_of(language, played.final_tokens)
  assert all(each.symbol in ('Corr', 'Cov') for each in written)
  _, values = heads.apply_batch(network, params, played.final_tokens)
  assert np.abs(np.asarray(values)).max() < 0.1


def test_named_files_exist():
  named = set(re.findall(r'\b(?:alphajax|scripts|tests)/[\w./]*\w', TEXT))
  named |= set(re.findall(r'\]\((?!http)([^)]+)\)', TEXT))
  assert {'scripts/test.sh', 'README.md', 'tests/oracle.py'} <= named
  assert not {each for each in named if not (ROOT / each).exists()}


def test_version_is_one():
  version = alphajax.__version__
  changes = (ROOT / 'CHANGELOG.md').read_text()
  assert re.search(r'^## (\S+)', changes, re.MULTILINE)[1] == version
  citation = (ROOT / 'CITATION.cff').read_text()
  assert f'\nversion: {version}\n' in citation
  assert 'arXiv:2601.22119' in citation
