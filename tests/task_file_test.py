"""A library and its bank in a file: what comes back, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from alphajax.language import formula as formula_lib
from alphajax.methods import task_file
from alphajax.methods.task_bank import Bank
from alphajax.methods.task_library import Library
from alphajax.run.files import RunError

TEXTS = 'close', 'volume/Mean(volume,20)', 'Corr(close,volume,20)', 'low/open'
N, BLOCKS = 4, 3


@pytest.fixture
def kept():
  """(config, library, bank) of made-up numbers."""
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(2, BLOCKS, N, 6)).astype(np.float32)
  gram = np.einsum('mbnd,mbkd->mbnk', rows, rows) / 6
  library = Library(tuple(map(formula_lib.parse, TEXTS)), np.array([2, 0]))
  bank = Bank(
    gram=jnp.asarray(gram, jnp.float16),
    mean=jnp.asarray(gram.mean(1), jnp.float16),
    noise=jnp.asarray(rng.normal(size=(2, 8, BLOCKS, N)), jnp.float32),
    facts=jnp.asarray(rng.uniform(size=(2, N, 2)), jnp.float32),
    size=jnp.asarray([1, 4, 4, 3], jnp.float32),
    log_weight=-jnp.arange(N, dtype=jnp.float32),
    held=jnp.arange(N) == 1,
    probes=jnp.asarray([2, 0], jnp.int32),
    panels=jnp.asarray([[1.0, 2.0], [3.0, 4.0]]),
    horizons=jnp.full(8, 5.0),
  )
  return tiny.get_config('pretraining'), library, bank


def test_what_is_read_is_what_was_written(kept, tmp_path, monkeypatch):
  config, library, bank = kept
  path = tmp_path / 'bank.npz'
  task_file.save(path, config, library, bank)
  found = task_file.load(path)
  assert found.library.formulas == library.formulas
  np.testing.assert_array_equal(found.library.probes, library.probes)
  for name, value in bank._asdict().items():
    again = getattr(found.bank, name)
    assert again.dtype == value.dtype and again.shape == value.shape
    np.testing.assert_allclose(again, value, atol=4e-3)
  # Fewer directions: not the same, but for what a formula is with itself.
  monkeypatch.setattr(task_file, 'RANK', 2)
  task_file.save(path, config, library, bank)
  fewer = np.asarray(task_file.load(path).bank.gram, np.float32)
  gram = np.asarray(bank.gram, np.float32)
  assert 0.05 < np.abs(fewer - gram).max()
  diagonal = np.arange(N)
  np.testing.assert_array_equal(
    fewer[..., diagonal, diagonal], gram[..., diagonal, diagonal]
  )


def test_other_files_and_other_configs_are_refused(kept, tmp_path):
  config, library, bank = kept
  path = tmp_path / 'bank.npz'
  with pytest.raises(RunError, match=r'bank\.npz does not exist: make one by'):
    task_file.load(path)
  np.savez(path, factors=np.zeros(2))
  with pytest.raises(RunError, match='is no bank of tasks'):
    task_file.load(path)
  task_file.save(path, config, library, bank)
  found = task_file.load(path)
  task_file.check(str(path), found, config)
  for key, value, said in (
    ('pretrain.library', 151, r'pretrain\.library = 150, now it is 151'),
    ('label.exit', 9, r'config\.label\.exit = '),
    ('data.simulate.seed', 7, r'config\.data\.path, its content = .simul'),
  ):
    other = config.copy_and_resolve_references()
    other.update_from_flattened_dict({key: value})
    with pytest.raises(ValueError, match=said):
      task_file.check(str(path), found, other)
