"""A formula Transformer that advises AlphaCFG's search and evolution."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from ml_collections import ConfigDict

from alphajax import experiment, markets
from alphajax.configs import alphacfg, evolution
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language import orders as orders_lib
from alphajax.methods import (
  advice,
  archive,
  formula_model,
  formula_tokens,
  task_library,
)
from alphajax.methods import evolution as evolution_method
from alphajax.methods import screen as screen_lib
from alphajax.networks import formula_transformer
from alphajax.networks.formula_transformer import Inputs
from alphajax.run.files import RunError
from alphajax.search import evolution as search_evolution
from tests.formula_transformer_test import random_params

NETWORK = dict(
  width=16, heads=2, hidden=16, latents=4, latent_layers=1, decoder_layers=1
)
TOKENS = dict(
  anchors=4, blocks=4, pool=3, tried=3, retrieved=4, references=1, ridge=0.3,
  scored=4,
)  # fmt: skip
PROBES = 5


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
  """A network of random parameters, with a library of its language."""
  config = config_of('evolution', '')
  config.network = ConfigDict(NETWORK)
  config.tokens = ConfigDict(TOKENS)
  orders = orders_lib.make(**config.language)
  formulas = environment.random_formulas(orders.rules, jax.random.key(7), 60)
  distinct = tuple({formula_lib.key(f): f for f in formulas}.values())
  network = formula_transformer.make(
    formula_transformer.Sizes(**NETWORK), orders,
  )  # fmt: skip
  width = formula_tokens.width(TOKENS['anchors'], TOKENS['blocks'])
  inputs = Inputs(
    jnp.zeros((1, width)), jnp.ones(1, bool),
    jnp.zeros(formula_tokens.NUM_CONTEXT),
    jnp.zeros((1, orders.length), jnp.int32),
  )  # fmt: skip
  library = task_library.Library(distinct, np.arange(8))
  bank = types.SimpleNamespace(panels=np.zeros((1, 2)))
  path = tmp_path_factory.mktemp('model') / 'tiny.npz'
  params = random_params(network, inputs, scale=0.3)
  return formula_model.save(path, params, config, library, bank, {})


def config_of(name, checkpoint, **changes):
  """The config of a method with advice, small."""
  if name == 'evolution':
    config = tiny.shrink(evolution.get_config('simulated,proposer'))
    config.proposer.samples = 16
    config.proposer.num_probes = PROBES
    config.proposer.update(changes)
  else:
    config = tiny.shrink(alphacfg.get_config('simulated,prior'))
    config.prior.num_probes = PROBES
    config.network.encoder = 'lstm'
    # What a node keeps of the decoder must go with the subtree.
    config.search.reuse_subtree = True
    config.prior.update(changes)
  config.checkpoint = str(checkpoint)
  return config


@pytest.fixture(scope='module')
def market():
  return markets.load_market(config_of('evolution', ''))[0]


@pytest.mark.parametrize(
  'name, policy',
  [('alphacfg', None), ('evolution', 'uniform'), ('evolution', 'learned')],
)
def test_a_run_with_advice_goes_on_with_the_same_bits(
  market, checkpoint, name, policy
):
  config = config_of(name, checkpoint)
  if policy:
    config.evolution.policy = policy
  method = experiment.make_method(config, market)
  half, records = tiny.run(method, 1)
  arrays, host = method.save(half)
  whole, more = tiny.run(method, 1, half, first=1)
  model = formula_model.load(checkpoint, config.language.to_dict())
  probes = [formula_lib.key(model.library[i]) for i in range(PROBES)]
  # Probes come first and count.
  assert list(whole.mined.book)[:PROBES] == probes
  assert len(whole.mined.book) == more[-1]['evaluated'] > PROBES
  assert all(np.isfinite(record['valid_ic']) for record in records + more)
  state = method.load(jax.device_get(arrays), json.loads(json.dumps(host)))
  state, rest = tiny.run(method, 1, state, first=1)
  assert rest == more
  assert list(state.mined.book.items()) == list(whole.mined.book.items())


@pytest.fixture(scope='module')
def asked(market, checkpoint):
  """(adviser, bench, what was mined: the probes; what the screen knows)."""
  config = config_of('evolution', checkpoint)
  bench = archive.make_bench(config, market)
  adviser, bench = advice.make(config, market, bench, PROBES)
  mined = archive.start(bench)
  screen = screen_lib.make(config, market.train)
  formulas = archive.formulas(bench, mined)
  known = screen_lib.load(screen, {'turned_away': {}}, formulas)
  return adviser, bench, mined, known


def test_what_is_told_follows_what_was_evaluated(asked):
  adviser, bench, mined, known = asked
  params, memory, worths = adviser.tell(bench, mined)
  assert worths.shape == (adviser.model.orders.size,)
  assert jax.tree.structure(params) == jax.tree.structure(adviser.model.params)
  assert np.isfinite(memory.latents).all()
  # The same, whoever looked at the formulas, and when.
  again = adviser.tell(bench, mined, known)[1]
  np.testing.assert_array_equal(again.latents, memory.latents)
  fewer = mined._replace(
    memory=mined.memory._replace(
      ids=mined.memory.ids[:2],
      rows=(np.concatenate(mined.memory.rows)[:2],),
      daily=(np.concatenate(mined.memory.daily)[:2],),
    )
  )
  other = adviser.tell(bench, fewer)[1]
  assert np.abs(other.latents - memory.latents).max() > 1e-3
  nothing = mined._replace(memory=type(mined.memory)())
  assert np.isfinite(adviser.tell(bench, nothing)[1].latents).all()


def test_worths_are_a_ridge_regression_of_scores(asked):
  adviser, bench, mined, _ = asked
  model = adviser.model
  bags = np.stack([orders_lib.bag(model.orders, f) for f in model.library])
  scores = np.random.default_rng(3).normal(size=len(bags))
  found = advice.symbol_worths(scores, bags)
  x = bags.astype(float)
  x[:, 0] = 1.0
  # Ridge: a row more for each symbol, which wants it to be 0.
  more = np.sqrt(10.0) * np.eye(x.shape[1])
  expected = np.linalg.lstsq(
    np.concatenate([x, more]),
    np.concatenate([scores, np.zeros(x.shape[1])]),
    rcond=None,
  )[0]
  np.testing.assert_allclose(found, expected, atol=1e-6)
  told = np.asarray(adviser.tell(bench, mined)[2])
  assert np.isfinite(told).all() and np.abs(told).max() > 1e-5


def test_what_is_written_differs_and_is_of_the_language(asked):
  adviser, bench, mined, _ = asked
  options = config_of('evolution', '').proposer
  told = adviser.tell(bench, mined)
  formulas = adviser.write(told, jax.random.key(0), options)
  keys = [formula_lib.key(formula) for formula in formulas]
  assert 1 < len(set(keys)) == len(keys) <= options.samples
  assert formulas == adviser.write(told, jax.random.key(0), options)
  for formula in formulas:
    environment.derivation(adviser.model.orders.rules, formula)


def children_of(share, fresh, parents, written):
  """Derivations as evolution proposes them, and those that were written."""
  config = config_of('evolution', '', share=share)
  grammar = environment.make(**config.language)
  rules = search_evolution.read_rules(grammar)
  rng = np.random.default_rng(0)
  write = evolution_method.uniform(config.evolution, rules, parents, rng)
  fresh = fresh if parents else 1.0
  of_all = evolution_method._advised(
    write, fresh, share, rng, 400, iter(written)
  )
  made = [child for child, _ in of_all]
  assert len(made) == 400
  return made, [child for child in made if child in written]


def test_the_share_of_what_is_written():
  # No derivation of the grammar, so that it is told apart.
  written = [(-1, n) for n in range(400)]
  parent = (0,)  # The first feature alone.
  assert not children_of(0.0, 0.5, [], written)[1]
  made, of_model = children_of(1.0, 0.5, [], written)
  assert made == of_model == written
  # Without a parent half is written; with parents a share of `fresh` is.
  assert abs(len(children_of(0.5, 0.2, [], written)[1]) - 200) < 40
  made, of_model = children_of(0.5, 0.4, [parent], written)
  assert abs(len(of_model) - 80) < 30
  # What is not there is grown.
  made, of_model = children_of(1.0, 0.5, [], written[:10])
  assert of_model == written[:10]


@pytest.mark.parametrize(
  'name, change, words',
  [
    ('evolution', dict(share=1.5), 'config.proposer.share is 1.5'),
    ('alphacfg', dict(uniform=-0.1), 'config.prior.uniform is -0.1'),
  ],
)
def test_options_that_cannot_be(market, checkpoint, name, change, words):
  config = config_of(name, checkpoint, **change)
  with pytest.raises(ValueError, match=words):
    experiment.make_method(config, market)


def test_what_does_not_go_together_is_refused(market, checkpoint):
  config = config_of('alphacfg', checkpoint)
  config.search.openings, config.search.openings_at = 0.5, 'node'
  with pytest.raises(ValueError, match="openings_at is 'node', and a prior"):
    experiment.make_method(config, market)
  config = config_of('alphacfg', checkpoint)
  config.screen.twin = 0.0
  with pytest.raises(ValueError, match='config.screen.twin is 0: the formula'):
    experiment.make_method(config, market)
  config = config_of('alphacfg', checkpoint)
  config.language.windows = (5, 20)
  with pytest.raises(ValueError, match='does not write the formulas of'):
    experiment.make_method(config, market)
  config = config_of('alphacfg', checkpoint.with_name('other.npz'))
  with pytest.raises(RunError, match='there is no checkpoint file .*other.npz'):
    experiment.make_method(config, market)


def test_the_variants_say_what_goes_after_the_comma():
  assert 'prior' not in alphacfg.get_config('csi300')
  assert 'proposer' not in evolution.get_config('csi300')
  assert alphacfg.get_config('sp500,prior').prior.uniform == 0.1
  with pytest.raises(ValueError, match='only proposer goes after a ,'):
    evolution.get_config('csi300,prior')
