"""Games dealt over devices; that they stay as they are, `wide_test` shows."""

import jax
import jax.numpy as jnp
import ml_collections
import pytest

from alphajax.search import chunks, dealing


def test_as_many_devices_as_share_the_games_evenly(monkeypatch):
  monkeypatch.setattr(jax, 'local_devices', lambda: jax.devices() * 4)
  assert dealing.make_mesh(100).size == 4
  assert dealing.make_mesh(6).size == 3
  assert dealing.make_mesh(7) is None
  assert dealing.make_mesh(100, devices=2).size == 2
  assert dealing.make_mesh(100, devices=1) is None
  for games, devices in ((100, 3), (100, 5), (100, -1)):
    with pytest.raises(ValueError, match=f'mesh.devices is {devices}: .* 4'):
      dealing.make_mesh(games, devices)
  dealing.check(4)
  with pytest.raises(ValueError, match='mesh.devices is 5: expected at most 4'):
    dealing.check(5)


def test_stocks_are_split_over_a_divisor_of_the_devices(monkeypatch):
  monkeypatch.setattr(jax, 'local_devices', lambda: jax.devices() * 4)

  def stocks(devices, stocks):
    mesh = {'devices': devices, 'stocks': stocks}
    return dealing.stocks(ml_collections.ConfigDict({'mesh': mesh}))

  assert dealing.stocks(ml_collections.ConfigDict()) == 1
  assert [stocks(3, 0), stocks(2, 1), stocks(0, 2), stocks(4, 4)] == [
    1,
    1,
    2,
    4,
  ]
  for parts in (3, 8):
    match = f'mesh.stocks is {parts}: expected a divisor of 4, the devices'
    with pytest.raises(ValueError, match=match):
      stocks(0, parts)
  match = (
    'mesh.stocks is 4 and config.mesh.devices 2: expected the same, or con'
  )
  with pytest.raises(ValueError, match=match):
    stocks(2, 4)


class Device:
  def __init__(self, process_index):
    self.process_index = process_index


@pytest.mark.parametrize(
  ('of_others', 'batch_size', 'devices', 'size'),
  [
    (0, 64, 0, 4), (0, 64, 3, 2), (0, 64, 1, 1), (0, 6, 0, 2), (0, 7, 0, 1),
    (3, 64, 0, 2), (1, 64, 0, 1),  # As many as every process has.
  ],
)  # fmt: skip
def test_as_many_devices_as_share_the_chunks_evenly(
  monkeypatch, of_others, batch_size, devices, size
):
  own = [Device(0) for _ in range(5)]
  others = [Device(1) for _ in range(of_others)]
  monkeypatch.setattr(jax, 'local_devices', lambda: own)
  monkeypatch.setattr(jax, 'devices', lambda: own + others)
  monkeypatch.setattr(chunks, 'Mesh', lambda chosen, _: list(chosen))
  mesh = chunks.make_mesh(batch_size, devices)
  assert mesh == (own[:size] if size > 1 else None)


def test_one_device_has_all():
  games = {'tokens': jnp.arange(6)}
  assert dealing.tell(None, games) is dealing.collect(None, games) is games
