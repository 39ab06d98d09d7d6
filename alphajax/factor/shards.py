"""A panel's stocks split over devices.

Each device has all days of its share of the stocks, stocks being filled up with
ones that are never members. What looks across stocks is brought together by
days before, and parted again after: each device then has all stocks of its
share of the days, and none ever has a whole plane.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from alphajax.data import universe as universe_lib
from alphajax.data.panel import Panel
from alphajax.factor import runtime

STOCKS = 'stocks'  # The axis of the devices.


@dataclasses.dataclass(frozen=True)
class Shards:
  """Which part of planes `[T, S]` lies on which device."""

  mesh: Mesh
  num_days: int
  num_stocks: int

  @property
  def width(self) -> int:
    """Stocks of a device."""
    return -(-self.num_stocks // self.mesh.size)

  @property
  def height(self) -> int:
    """Days of a device where planes are split by days."""
    return -(-self.num_days // self.mesh.size)

  def by_stocks(self, ndim: int) -> P:
    """Of arrays `[..., T, S]`, each device with a share of the stocks."""
    return P(*[None] * (ndim - 1), STOCKS)

  def by_days(self, ndim: int) -> P:
    """Of arrays `[..., T, S]`, each device with a share of the days."""
    return P(*[None] * (ndim - 2), STOCKS, None)

  def to_days(self, planes: jax.Array) -> jax.Array:
    """All stocks of this device's days, of all days of its stocks.

    On each device: f32[B, T, width] -> f32[B, height, S].
    """
    more = self.mesh.size * self.height - self.num_days
    planes = jnp.pad(planes, ((0, 0), (0, more), (0, 0)))
    planes = jax.lax.all_to_all(planes, STOCKS, 1, 2, tiled=True)
    return planes[..., : self.num_stocks]

  def to_stocks(self, planes: jax.Array) -> jax.Array:
    """The inverse of `to_days`; NaN for the stocks that are none."""
    more = self.mesh.size * self.width - self.num_stocks
    missing = ((0, 0), (0, 0), (0, more))
    planes = jnp.pad(planes, missing, constant_values=jnp.nan)
    planes = jax.lax.all_to_all(planes, STOCKS, 2, 1, tiled=True)
    return planes[:, : self.num_days]

  def on_each(self, function: Callable, specs: Any, out: Any) -> Callable:
    """A function of what each device has, as one of all of it."""
    return jax.shard_map(
      function, mesh=self.mesh, in_specs=specs, out_specs=out, check_vma=False
    )

  def program(
    self,
    function: Callable,
    args: Any,
    specs: Any,
    out: Any,
    donate: int | None = None,
  ) -> Callable:
    """A function compiled for arguments that lie as their specs say.

    out: how its results lie; one spec is that of all.
    donate: number of the argument that is changed where it lies.
    """

    def lying(leaf, spec):
      sharding = NamedSharding(self.mesh, spec)
      like = jax.typeof(leaf)
      return jax.ShapeDtypeStruct(
        like.shape, like.dtype, sharding=sharding, weak_type=like.weak_type
      )

    program = jax.jit(
      function,
      compiler_options=runtime.options(self.mesh.devices.flat[0].platform),
      donate_argnums=donate,
      out_shardings=jax.tree.map(
        functools.partial(NamedSharding, self.mesh), out
      ),
    )
    where = jax.tree.map(lying, args, specs)
    return runtime.with_jit(lambda: program.lower(*where).compile())

  def put_panel(self, panel: Panel) -> jax.Array:
    """Features f32[F, T, S'] by stocks; S' are those of all devices."""

    def part(i):
      stocks = slice(i * self.width, (i + 1) * self.width)
      values = np.asarray(panel.features[:, :, stocks], np.float32)
      values = np.where(np.isfinite(values), values, np.float32(np.nan))
      missing = ((0, 0), (0, 0), (0, self.width - values.shape[2]))
      return np.pad(values, missing, constant_values=np.nan)

    return self._put(part, self.by_stocks)

  def put_universe(self, mask: np.ndarray) -> universe_lib.Universe:
    """Members of bool[T, S] by days; those too many have no members."""
    width = universe_lib.width_of(mask)

    def part(i):
      days = mask[i * self.height : (i + 1) * self.height]
      days = np.pad(days, ((0, self.height - len(days)), (0, 0)))
      return universe_lib.make_by_day(days, width)

    return self._put(part, self.by_days)

  def _put(self, part: Callable, spec: Callable) -> Any:
    """Arrays of which device i has `part(i)`, a tree of host arrays.

    The host makes and sends one after the other, so that it never has all.
    """
    parts = [
      jax.block_until_ready(jax.device_put(part(i), device))
      for i, device in enumerate(self.mesh.devices.flat)
    ]

    def joined(*leaves):
      sharding = NamedSharding(self.mesh, spec(leaves[0].ndim))
      shape = list(leaves[0].shape)
      shape[sharding.spec.index(STOCKS)] *= len(leaves)
      return jax.make_array_from_single_device_arrays(
        tuple(shape), sharding, leaves
      )

    return jax.tree.map(joined, *parts)

  def put_args(self, args: Any) -> Any:
    """What a reduction reads beside values: planes by days, the rest on all.

    Planes `[..., T, n]` are filled up with days, for as many on each device.
    """
    more = self.mesh.size * self.height - self.num_days

    def put(leaf):
      ndim, spec = np.ndim(leaf), P()
      if ndim >= 2 and np.shape(leaf)[-2] == self.num_days:
        pad = jnp.pad if isinstance(leaf, jax.Array) else np.pad
        leaf = pad(leaf, ((0, 0),) * (ndim - 2) + ((0, more), (0, 0)))
        spec = self.by_days(ndim)
      return jax.device_put(leaf, NamedSharding(self.mesh, spec))

    return jax.tree.map(put, args)


def make(shape: tuple[int, int], devices: Sequence[jax.Device]) -> Shards:
  """Planes of a shape (T, S) over devices."""
  return Shards(Mesh(np.array(devices), (STOCKS,)), *shape)
