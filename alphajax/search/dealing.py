"""A batch of games dealt over the devices of this process, or of a whole job.

Games do not know of each other, so each device plays its own, and devices tell
each other nothing. Random numbers are drawn as for the whole batch, so that a
game is the same to the bit on however many devices the batch is dealt over.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

GAMES = 'games'


def wanted(config) -> int:
  """`config.mesh.devices`, 0 where a config has none: all there are."""
  return config.get('mesh', {}).get('devices', 0)


def check(devices: int) -> None:
  """Refuses more devices than there are, whether games are played or not."""
  count = len(jax.local_devices())
  if devices > count:
    raise ValueError(
      f'config.mesh.devices is {devices}: expected at most {count}, the '
      'devices that are here; 0 takes what there is'
    )


def stocks(config) -> int:
  """`config.mesh.stocks`: devices that share a panel; 1: each has all stocks.

  Raises:
    ValueError: a number that does not divide the devices that are here, or is
      another one than that of `config.mesh.devices`.
  """
  parts = config.get('mesh', {}).get('stocks', 0) or 1
  count, devices = len(jax.local_devices()), wanted(config)
  if count % parts:
    raise ValueError(
      f'config.mesh.stocks is {parts}: expected a divisor of {count}, '
      'the devices that are here; 0 puts all stocks on each'
    )
  if parts > 1 and devices not in (0, parts):
    raise ValueError(
      f'config.mesh.stocks is {parts} and config.mesh.devices '
      f'{devices}: expected the same, or config.mesh.devices=0'
    )
  return parts


def make_mesh(num_games: int, devices: int = 0) -> Mesh | None:
  """As many local devices as share the games evenly; None: one has all.

  Of a job of several processes the devices of all, so many of each; where they
  cannot share the games evenly, every process plays them all.

  Args:
    num_games: of a batch.
    devices: of a process, so many at most; 0: all there are.

  Raises:
    ValueError: more devices than there are, or a number that cannot share the
      games evenly.
  """
  local = jax.local_devices()
  if jax.process_count() > 1:
    return _make_wide_mesh(num_games, devices)
  if devices:
    if not 0 < devices <= len(local) or num_games % devices:
      raise ValueError(
        f'config.mesh.devices is {devices}: expected at most {len(local)}, the '
        f'devices that are here, and a divisor of the {num_games} games of '
        'config.num_trajectories; 0 takes what there is'
      )
    count = devices
  else:
    count = max(n for n in range(1, len(local) + 1) if num_games % n == 0)
  if count == 1:
    return None
  return Mesh(np.array(local[:count]), (GAMES,))


def _make_wide_mesh(num_games: int, devices: int) -> Mesh | None:
  """The same over all processes of a job."""
  of_process: dict[int, list] = {}
  for device in jax.devices():
    of_process.setdefault(device.process_index, []).append(device)
  most = min(map(len, of_process.values()))
  if devices > most or devices < 0:
    raise ValueError(
      f'config.mesh.devices is {devices}: expected at most {most}, the devices '
      'that every process has; 0 takes what there is'
    )
  if devices and num_games % (devices * len(of_process)):
    raise ValueError(
      f'config.mesh.devices is {devices}: {devices} devices of each of '
      f'{len(of_process)} processes cannot share the {num_games} games of '
      'config.num_trajectories evenly; 0 takes what can'
    )
  for count in range(devices or most, 0, -1):
    chosen = [each for own in of_process.values() for each in own[:count]]
    if num_games % len(chosen) == 0:
      return Mesh(np.array(chosen), (GAMES,))
  return None


def _is_wide(mesh: Mesh) -> bool:
  """Whether some of its devices are another process's."""
  return any(d.process_index != jax.process_index() for d in mesh.devices.flat)


def _spread(mesh: Mesh, tree: Any, spec: PartitionSpec) -> Any:
  """What every process has whole, as arrays of all devices."""
  sharding = NamedSharding(mesh, spec)

  def put(leaf):
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      words = put(jax.random.key_data(leaf))
      return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(
      whole.shape, sharding, lambda index: whole[index]
    )

  return jax.tree.map(put, jax.tree.map(jnp.asarray, tree))


def share(
  mesh: Mesh | None, play: Callable, num_games: int, axes: Any
) -> Callable:
  """`play(num_games, known, own) -> games`, each device with its games alone.

  Args:
    play: is given the number of games of a device.
    num_games: all of them.
    axes: where each array of the result has its games, a tree of integers.

  Returns:
    (known, own) -> games; known: arrays that every device must have, own: those
    of each game, `[B, ...]`.
  """
  if mesh is None:
    return functools.partial(play, num_games)
  return jax.shard_map(
    functools.partial(play, num_games // mesh.size),
    mesh=mesh,
    in_specs=(PartitionSpec(), PartitionSpec(GAMES)),
    out_specs=jax.tree.map(lambda n: PartitionSpec(*[None] * n, GAMES), axes),
    check_vma=False,
  )


def draw(
  mesh: Mesh | None, sample: Callable, rng_key: jax.Array, like: jax.Array
) -> jax.Array:
  """`sample(rng_key, shape, dtype)` of the games here, those of `like`.

  All devices draw for all games, which costs little, and keep their own.
  """
  if mesh is None:
    return sample(rng_key, like.shape, like.dtype)
  num_games, *rest = like.shape
  every = sample(rng_key, (num_games * mesh.size, *rest), like.dtype)
  first = jax.lax.axis_index(GAMES) * num_games
  return jax.lax.dynamic_slice_in_dim(every, first, num_games)


def tell(mesh: Mesh | None, known: Any) -> Any:
  """Brings what every game must know, such as parameters, to all devices."""
  if mesh is None:
    return known
  if _is_wide(mesh):
    return _spread(mesh, known, PartitionSpec())
  return jax.device_put(known, NamedSharding(mesh, PartitionSpec()))


def hand_out(mesh: Mesh | None, own: Any) -> Any:
  """Brings what belongs to each game, `[B, ...]`, to where it is played."""
  if mesh is None or not _is_wide(mesh):
    return own  # The program does.
  return _spread(mesh, own, PartitionSpec(GAMES))


def collect(mesh: Mesh | None, games: Any) -> Any:
  """Brings what was played to the first device here, where the rest is."""
  if mesh is None:
    return games
  if _is_wide(mesh):
    return multihost_utils.process_allgather(games, tiled=True)
  return jax.device_put(games, mesh.devices.flat[0])
