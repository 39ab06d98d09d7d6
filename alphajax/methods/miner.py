"""What every method has in common whose result is a pool of formulas."""

from collections.abc import Callable

from alphajax.methods import archive, linear, stopping
from alphajax.methods.base import Method


def make(
  config, *, init: Callable, step: Callable, save: Callable, load: Callable
) -> Method:
  """A method whose state has `mined`, an `archive.Mined`; see `base.Method`."""
  return Method(
    init=init,
    step=step,
    predict=lambda state, panel: linear.predict(
      archive.found(state.mined), panel
    ),
    found=lambda state: archive.found(state.mined),
    finished=lambda state: stopping.finished(config, state.mined),
    save=save,
    load=load,
  )
