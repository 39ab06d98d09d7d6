"""Parameters on disk: they come back, or an error says what to type."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.language import orders as orders_lib
from alphajax.networks import formula_transformer
from alphajax.networks.formula_transformer import Inputs
from alphajax.run import pretrained
from alphajax.run.files import RunError
from tests.formula_transformer_test import TINY, random_params

LANGUAGE = dict(
  name='sem_k',
  max_length=4,
  features=('close',),
  windows=(5, 10),
  operators=('Abs', 'Add', 'Mean', 'Corr'),
)
WIDTHS = pretrained.Widths(tokens=5, context=3)
ABOUT = {'config': {'seed': 3}, 'data_hash': 'abc', 'seconds': 12.5}


@functools.cache
def params_of():
  orders = orders_lib.make(**LANGUAGE)
  network = formula_transformer.make(TINY, orders)
  rows = jnp.zeros((0, orders.length), jnp.int32)
  inputs = Inputs(jnp.zeros((1, 5)), jnp.ones(1, bool), jnp.zeros(3), rows)
  return random_params(network, inputs)


@pytest.fixture
def saved(tmp_path):
  return save(tmp_path / 'tiny.npz')


def save(path, params=None, **options):
  options = (
    dict(language=LANGUAGE, sizes=TINY, widths=WIDTHS, about=ABOUT) | options
  )
  return pretrained.save(path, params or params_of(), **options)


def test_all_comes_back(tmp_path, saved):
  extra = {'behaviour': np.arange(6, dtype=np.int8).reshape(2, 3)}
  save(saved, extra=extra)
  for name in ('tiny.npz', 'tiny.json', 'tiny'):
    found = pretrained.load(tmp_path / name)
    jax.tree.map(np.testing.assert_array_equal, found.params, params_of())
    assert found.about == ABOUT and found.widths == WIDTHS
    assert found.network.sizes == TINY
    np.testing.assert_array_equal(found.extra['behaviour'], extra['behaviour'])
    assert found.extra['behaviour'].dtype == np.int8
  symbols = orders_lib.symbols(found.orders)
  assert symbols == orders_lib.symbols(orders_lib.make(**LANGUAGE))
  beside = json.loads((tmp_path / 'tiny.json').read_text())
  count = formula_transformer.num_parameters(params_of())
  assert beside['parameters'] == count


def test_half_takes_half_the_bytes(saved):
  whole = saved.stat().st_size
  save(saved, half=True)
  assert saved.stat().st_size < 0.75 * whole
  found = pretrained.load(saved)
  for a, b in zip(
    jax.tree.leaves(found.params), jax.tree.leaves(params_of()), strict=True
  ):
    assert a.dtype == jnp.float32
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)


def test_the_language_may_be_given_anew(saved):
  listed = json.loads(json.dumps(LANGUAGE))  # A tuple is a list then.
  pretrained.load(saved, language=listed)


@pytest.mark.parametrize(
  'change, words',
  [
    (dict(windows=(5, 20)), "it lacks 'window 20', 'Num -> 20' and it has"),
    (dict(features=('close', 'open')), "it lacks 'feature open', 'Expr -> op"),
    (dict(operators=('Abs', 'Add', 'Mean')), "it has 'paired Corr', 'Expr ->"),
    (dict(windows=(10, 5)), 'it has them in another order'),
    (dict(max_length=6), 'its sequences have up to 6 symbols, not 8'),
  ],
)
def test_another_vocabulary_is_refused(saved, change, words):
  with pytest.raises(ValueError) as error:
    pretrained.load(saved, language=LANGUAGE | change)
  text = str(error.value)
  assert str(saved) in text and words in text
  assert '--config.language.windows="(5,10)"' in text
  assert '--config.language.features="(\'close\',)"' in text
  assert '--config.checkpoint' in text


@pytest.mark.parametrize('name', ['tiny.npz', 'tiny.json'])
def test_a_missing_file_says_what_to_type(saved, name):
  saved.with_name(name).unlink()
  with pytest.raises(RunError) as error:
    pretrained.load(saved)
  text = str(error.value)
  assert text.startswith('there is no checkpoint file') and name in text
  assert 'configs/alphaformer.py:csi300,pretrain' in text
  assert 'leave --config.checkpoint out' in text


@pytest.mark.parametrize('keep', [0, 10, 0.5, 0.99])
def test_a_truncated_file_is_found_out(saved, keep):
  content = saved.read_bytes()
  cut = int(keep * len(content)) if isinstance(keep, float) else keep
  saved.write_bytes(content[:cut])
  with pytest.raises(RunError, match='it was cut off or changed; put a copy'):
    pretrained.load(saved)


def test_a_damaged_json_is_found_out(saved):
  beside = saved.with_suffix('.json')
  text = beside.read_text()
  beside.write_text(text[: len(text) // 2])
  with pytest.raises(RunError, match='tiny.json is not JSON'):
    pretrained.load(saved)
  value = json.loads(text)
  beside.write_text(json.dumps(value | {'format': 1}))
  with pytest.raises(RunError, match='format 1, this version .* reads 2'):
    pretrained.load(saved)
  del value['sizes'], value['about']
  beside.write_text(json.dumps(value))
  with pytest.raises(RunError, match='lacks sizes, about'):
    pretrained.load(saved)


def test_sizes_that_are_not_those_of_the_arrays_are_found_out(saved):
  beside = saved.with_suffix('.json')
  value = json.loads(beside.read_text())
  value['sizes']['hidden'] += 1
  beside.write_text(json.dumps(value))
  with pytest.raises(RunError, match=r'decoder_0/dense/Dense_0/'):
    pretrained.load(saved)


def test_what_should_not_be_saved_is_not(tmp_path, monkeypatch):
  broken = jax.tree.map(lambda x: x, params_of())
  broken['params']['head']['bias'] = broken['params']['head']['bias'] * np.nan
  with pytest.raises(ValueError, match='params/head/bias is not finite'):
    save(tmp_path / 'tiny.npz', broken)
  monkeypatch.setattr(pretrained, 'MAX_BYTES', 10_000)
  with pytest.raises(ValueError, match='over 10,000: save with half=True'):
    save(tmp_path / 'tiny.npz')
  with pytest.raises(ValueError, match='keep fewer extra arrays'):
    save(tmp_path / 'tiny.npz', half=True)
  assert not list(tmp_path.iterdir())
