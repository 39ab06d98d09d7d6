"""Where compiled programs are kept between processes."""

import os

import jax

from alphajax.data import panel_cache
from alphajax.run import contexts


def use_disk_cache() -> None:
  """Keeps compiled programs on disk, so that the next start is quick.

  In a folder beside the loaded panels, see `panel_cache.home`. From how many
  seconds of compilation on: all, or as JAX's own environment variable says.
  What else makes a start quick is done too, see `contexts`.
  """
  contexts.share()
  # By its real path: JAX looks a program up by the folder's name as well.
  folder = (panel_cache.home() / 'xla').resolve()
  jax.config.update('jax_compilation_cache_dir', str(folder))
  # Small programs too: a start has some hundred of them.
  if 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS' not in os.environ:
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
