"""What several test files share."""

import pytest

from alphajax.run import cache


@pytest.fixture(scope='session', autouse=True)
def disk_cache(tmp_path_factory):
  """Compiled programs, shared by all tests and processes of a session."""
  shared = tmp_path_factory.getbasetemp().parent / 'alphajax_cache'
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('ALPHAJAX_CACHE', str(shared))
    cache.use_disk_cache()
    yield
