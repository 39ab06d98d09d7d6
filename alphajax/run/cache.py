"""Where compiled programs are kept between processes."""

import os
from pathlib import Path

import jax


def use_disk_cache() -> None:
  """Keeps compiled programs on disk, so that the next start is quick.

  In `$ALPHAJAX_CACHE`, or in the user's cache folder.
  """
  home = os.environ.get('ALPHAJAX_CACHE', '~/.cache/alphajax')
  jax.config.update(
    'jax_compilation_cache_dir', str(Path(home).expanduser() / 'xla')
  )
  # Small programs too: a start has some hundred of them.
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
