"""A store whose stocks are split over devices, for what does not fit on one.

Used as `Store` is. What it gives is the same to the bit as by one device but
for sums over stocks: those of `Scale` and of group operators, and statistics.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import universe as universe_lib
from alphajax.data.device import put
from alphajax.data.panel import Panel
from alphajax.factor import operators, runtime, waves
from alphajax.factor import shards as shards_lib
from alphajax.factor.budget import MAX_PLANES, room
from alphajax.factor.shards import P, Shards
from alphajax.factor.store import Store
from alphajax.language.formula import Formula


class ShardedStore(Store):
  """Values of a panel of which each device has a share of the stocks."""

  def __init__(self, panel: Panel, budget: int, devices: Sequence[jax.Device]):
    """Puts the panel on the devices, each share by itself.

    budget: bytes of each device for values, beside its share of the panel.

    Raises:
      ValueError: the budget holds fewer values than any formula needs.
    """
    # Nothing here is whole, so nothing is done as `Store` does it.
    self.shape = tuple(np.shape(panel.mask))
    self.feature_names = tuple(panel.feature_names)
    self._coded = panel.coded
    self._shards = shards = shards_lib.make(self.shape, devices)
    own = room(budget, shards.num_days, shards.width)
    self.capacity = min(own, MAX_PLANES)
    self._panel = panel
    self._where = jax.local_devices()[0]  # Of what is handed out.
    self._planes = ShardedPlanes(
      self._put(panel),
      shards.put_universe(np.asarray(panel.mask, bool)),
      self.capacity,
      shards,
    )
    self._start([None] * len(self.feature_names))

  @functools.cached_property
  def universe(self) -> universe_lib.Universe:  # type: ignore[override]
    """Of all stocks and days, on the default device; made when it is read."""
    mask = np.asarray(self._panel.mask, bool)
    return put(universe_lib.make_by_day(mask, universe_lib.width_of(mask)))

  def _put(self, panel: Panel) -> jax.Array:
    return self._shards.put_panel(panel)

  def map(self, formulas: Sequence[Formula], reduce: Callable, *args: Any):
    """`Store.map`.

    `reduce` is one program of all devices, and handed values split by days:
    what it does within a day, it does without asking another device.
    """
    return super().map(formulas, reduce, *self._shards.put_args(args))


class ShardedPlanes(waves.Planes):
  """A pool of planes split by stocks; its universe is split by days."""

  def __init__(
    self,
    features: jax.Array,
    universe: universe_lib.Universe,
    capacity: int,
    shards: Shards,
  ):
    """Takes features and universe as `shards` puts them."""
    self._shards = shards
    super().__init__(features, universe, capacity, shards)

  def _in_place(self, name: str, window: int | None, args: tuple) -> Callable:
    shards = self._shards
    function = waves.wave(name, window)
    if name in operators.CROSS_SECTIONAL:
      function = waves.wave(name, window, shards.to_days, shards.to_stocks)
    specs = self._specs(args)
    function = shards.on_each(function, specs, specs[0])
    return shards.program(function, args, specs, specs[0], donate=0)

  def _specs(self, args: tuple) -> tuple:
    """Of (pool, data, places)."""
    _, data, places = args
    by_days = isinstance(data, universe_lib.Universe)
    spec = self._shards.by_days(2) if by_days else P()
    return self._shards.by_stocks(3), jax.tree.map(lambda _: spec, data), P()

  def _program(self, function: Callable, args: tuple) -> Callable:
    shards = self._shards
    specs = (shards.by_stocks(3), P())[: len(args)]
    out = jax.tree.map(
      lambda leaf: shards.by_stocks(leaf.ndim), jax.eval_shape(function, *args)
    )
    function = shards.on_each(function, specs, out)
    return shards.program(function, args, specs, out)

  def _reduction(self, reduce: Callable, args: Any, size: int) -> Callable:
    shards, days = self._shards, slice(self._shards.num_days)
    places = jax.ShapeDtypeStruct((size,), np.int32)
    specs = shards.by_stocks(3), P()

    @functools.partial(shards.on_each, specs=specs, out=shards.by_days(3))
    def by_days(pool, places):
      return shards.to_days(waves.planes_at(pool, places))

    lie = jax.tree.map(lambda leaf: leaf.sharding.spec, args)

    def run(pool, args, places):
      args = jax.tree.map(
        lambda leaf, spec: leaf[..., days, :] if any(spec) else leaf, args, lie
      )
      values = by_days(pool, places)[:, days]
      return jax.vmap(lambda each: reduce(each, *args))(values)

    whole = self._like_pool(), args, places
    return shards.program(run, whole, (specs[0], lie, P()), P())

  def reader(self) -> tuple[Callable, int]:
    """As `waves.Planes.reader`; copies f32[T, S] on the default device."""
    read, size = super().reader()

    def run(nodes):
      return [self._hand_out(value) for value in read(nodes)]

    return run, size

  def _hand_out(self, value: jax.Array) -> jax.Array:
    default, stocks = jax.local_devices()[0], slice(self._shards.num_stocks)
    # From device to device: put as a whole, a value goes by the host. What is
    # put on a device is committed to it, what is made of it there is not.
    first = {
      part.index[1].start or 0: part.data for part in value.addressable_shards
    }
    parts = tuple(jax.device_put(first[i], default) for i in sorted(first))
    key = 'join', runtime.signature(parts)
    if not self.knows(key):

      def join(*parts):
        return jnp.concatenate(parts, 1)[:, stocks]

      self._programs[key] = {1: runtime.program(join, key[1], default)}
    return self._programs[key][1](*parts)


def over_stocks(panel: Panel, budget: int, devices: int) -> ShardedStore:
  """A store whose stocks are split over the first devices of this process.

  budget: bytes of each device for values, beside its share of the panel.
  """
  return ShardedStore(panel, budget, jax.local_devices()[:devices])
