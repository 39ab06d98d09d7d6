"""Every language trains; rules of one's own, from the config."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import parameters
import pytest
import tiny

from alphajax import experiment, markets, train
from alphajax.language import environment
from alphajax.networks import contexts, heads
from alphajax.search import evaluators

CUSTOM = """
# Momentum and volume, each scaled.
Expr -> Mul Price Volume : 1
Price -> Delta close Num | Sub close Mean close Num
Volume -> CSRank Body : 1
Body -> volume
Body -> Mean volume Num | Add Body Abs Body : 1
Num -> 5 | 10
"""


def shrunk(name, method):
  config = tiny.get_config(method)
  config.language.name = name
  config.lookback = 30
  if name == 'custom':
    config.language.rules = CUSTOM
    config.language.operators += ('Mul', 'Sub')
  return config


def one_step(config):
  market, _ = markets.load_market(config)
  method = experiment.make_method(config, market)
  state, metrics = method.step(
    method.init(jax.random.key(0)), jax.random.key(1)
  )
  assert metrics['evaluated'] > 0 and np.isfinite(metrics['train_ic'])
  return method.found(state), metrics


@pytest.mark.parametrize('name', environment.NAMES)
def test_random_search_trains(name):
  found, _ = one_step(shrunk(name, 'random_search'))
  assert found.formulas


@pytest.mark.parametrize('name', ['sem', 'syn', 'custom'])
def test_alphacfg_trains(name):
  """alpha-Sem-k is in `configs_test`."""
  config = shrunk(name, 'alphacfg')
  found, metrics = one_step(config)
  assert np.isfinite(metrics['policy_loss'] + metrics['value_loss'])
  assert found.formulas
  language = environment.make(**config.language)
  if name != 'custom':  # A canonical formula may swap what those rules order.
    for formula in found.formulas:
      environment.derivation(language, formula)


def test_alphacfg_says_that_its_encoder_cannot_read_rpn():
  config = shrunk('rpn', 'alphacfg')
  market, _ = markets.load_market(config)
  with pytest.raises(
    ValueError, match="config.network.encoder is 'tree_lstm'.*rpn.*lstm"
  ):
    experiment.make_method(config, market)


def test_rules_that_cannot_be_read_incrementally_are_read_whole():
  """In `Add Body Abs Body` an operator stands beside the path."""
  language = environment.make(**shrunk('custom', 'alphacfg').language)
  assert 'beside its path' in contexts.refusal(language)
  network = heads.make(language, width=8)
  params = parameters.random(network, language)
  evaluator = evaluators.from_derivation(network, language)

  @jax.jit
  def follow(params):
    prepared = evaluator.prepare(params)
    states = jax.tree.map(lambda x: x[None], environment.init(language))
    first = evaluator.init(prepared, states)
    action = jnp.argmin(states.invalid_actions, axis=1)
    after = jax.vmap(environment.step, (None, 0, 0))(language, states, action)
    second = evaluator.step(prepared, first[2], states, action, after)
    return (states.tokens, first), (after.tokens, second)

  read = jax.jit(functools.partial(heads.apply_batch, network))
  for tokens, (one, two, _) in jax.device_get(follow(params)):
    expected = read(params, tokens)
    np.testing.assert_allclose(one, expected[0], rtol=1e-6)
    np.testing.assert_allclose(two, expected[1], rtol=1e-6)


def test_alpha_syn_is_read_incrementally():
  language = environment.make('syn', max_length=4)
  assert contexts.refusal(language) is None
  assert 'no productions' in contexts.refusal(environment.make('rpn'))


def test_a_grammar_in_a_file_stays_with_the_run(tmp_path):
  path = tmp_path / 'rows.txt'
  path.write_text(CUSTOM)
  config = shrunk('custom', 'random_search')
  config.num_iterations = 1
  config.language.rules = str(path)
  train.train(config, tmp_path / 'run')
  kept = json.loads((tmp_path / 'run' / 'config.json').read_text())
  assert kept['language']['rules'] == CUSTOM
  path.write_text('Expr -> close')
  with pytest.raises(ValueError, match='language.rules'):
    train.train(config, tmp_path / 'run')


def test_a_bad_language_is_refused_before_anything_is_loaded(tmp_path):
  config = shrunk('custom', 'random_search')
  config.language.rules = 'Expr -> Abs Expr : 1'
  # There, so that it is not what is refused first, and of no use if loaded.
  (tmp_path / 'empty.parquet').touch()
  config.data.path = str(tmp_path / 'empty.parquet')
  with pytest.raises(ValueError, match="'Expr' cannot terminate"):
    train.train(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()
