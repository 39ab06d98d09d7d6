"""Gradients of a batch, dealt over the devices of this process.

A batch is cut into as many equal chunks on any number of devices. A device
computes the gradients of its own, one chunk after the other, all tell each
other theirs, and each adds them in the order of the chunks. So no sum depends
on how many devices there are, and two come to the bits of eight. One device
alone takes a batch whole, whose sums are of another order.
"""

import collections
import functools
import math
import operator
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from alphajax.search import dealing

CHUNKS = 'chunks'
MOST = 8


def count(batch_size: int) -> int:
  """Chunks of a batch: the largest power of two up to `MOST` that divides it.

  It must not depend on the devices.
  """
  return math.gcd(batch_size, MOST)


def make_mesh(batch_size: int, devices: int = 0) -> Mesh | None:
  """As many local devices as share the chunks evenly; None: one has all.

  Of a job of several processes each has a mesh of its own devices, as many as
  the others have: all compute the same, and need not tell each other.

  devices: so many at most; 0: all there are.
  """
  of_process = collections.Counter(d.process_index for d in jax.devices())
  most = min(count(batch_size), *of_process.values())
  most = min(most, devices or most)
  size = 1 << most.bit_length() - 1  # Chunks are a power of two.
  if size == 1:
    return None
  return Mesh(np.array(jax.local_devices()[:size]), (CHUNKS,))


def mesh_of(config) -> Mesh | None:
  """`make_mesh` where `config.mesh.learning` says so; older runs do not."""
  if not config.get('mesh', {}).get('learning', False):
    return None
  return make_mesh(config.training.batch_size, dealing.wanted(config))


def share(mesh: Mesh, fit: Callable) -> Callable:
  """`fit(*known)` on all devices, in which `gradients` deals the batches."""
  return jax.shard_map(
    fit,
    mesh=mesh,
    in_specs=PartitionSpec(),
    out_specs=PartitionSpec(),
    check_vma=False,
  )


def gradients(loss_fn: Callable, mesh: Mesh) -> Callable:
  """`(params, batch, rng_key) -> (gradients, metrics)`, inside `share` alone.

  All devices know the batch `[B, ...]` and come to the same.

  loss_fn: `(params, batch, rng_key) -> (loss, metrics)`, means over the batch;
    it is given a key for each row.
  """
  grad_fn = jax.grad(loss_fn, has_aux=True)

  def of_chunk(params, own):
    # What is around a chunk, a loop or none, must not be fused with it: that
    # depends on the devices, and so would the rounding.
    params, (batch, keys) = jax.lax.optimization_barrier((params, own))
    found = grad_fn(params, batch=batch, rng_key=keys)
    return jax.lax.optimization_barrier(found)

  def of_batch(params, batch, rng_key):
    size = jax.tree.leaves(batch)[0].shape[0]
    keys = jax.random.split(rng_key, size)
    each = count(size) // mesh.size
    first = jax.lax.axis_index(CHUNKS) * each

    def take_own(rows):
      rows = rows.reshape(count(size), -1, *rows.shape[1:])
      return jax.lax.dynamic_slice_in_dim(rows, first, each)

    own = jax.tree.map(take_own, (batch, keys))
    found = jax.lax.map(functools.partial(of_chunk, params), own)
    found = jax.lax.all_gather(found, CHUNKS, tiled=True)
    found = jax.lax.optimization_barrier(found)
    return jax.tree.map(
      lambda x: functools.reduce(operator.add, x) / count(size), found
    )

  return of_batch
