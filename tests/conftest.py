"""What several test files share."""

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from alphajax import experiment

_OPTIONS = (
  'jax_compilation_cache_dir',
  'jax_persistent_cache_min_compile_time_secs',
)


@pytest.fixture(scope='module')
def disk_cache(tmp_path_factory):
  """Compiled programs, shared by all tests and processes of a session."""
  shared = tmp_path_factory.getbasetemp().parent / 'alphajax_cache'
  before = [getattr(jax.config, name) for name in _OPTIONS]
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('ALPHAJAX_CACHE', str(shared))
    experiment.use_disk_cache()
    compilation_cache.reset_cache()  # It is set up at the first compilation.
    yield
  for name, value in zip(_OPTIONS, before, strict=True):
    jax.config.update(name, value)
  compilation_cache.reset_cache()
