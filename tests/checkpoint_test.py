"""Checkpoints: same bits back, and always one left whatever is killed."""

import errno
import json
import logging
import os
import random
import resource
import shutil
import signal
import time

import commands
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.run import checkpoint
from alphajax.run.files import RunError

# Bit patterns that a conversion on the way would lose.
_ODD_FLOATS = np.array([0x7FC01234, 0xFF800001, 0x80000000, 1], np.uint32)


def make_arrays():
  rng = np.random.default_rng(0)
  return {
    'params': [{'w': jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)}],
    'half': jnp.asarray(rng.normal(size=5), jnp.bfloat16),
    'count': jnp.int32(7),
    'key': jax.random.key(3),
    'keys': jax.random.split(jax.random.key(4, impl='rbg'), 2),
    'replay': (
      rng.integers(-128, 128, (10, 6)).astype(np.int8),
      rng.random(10) > 0.5,
      rng.integers(0, 2**32, 4, dtype=np.uint32),
      _ODD_FLOATS.view(np.float32),
      rng.normal(size=3),  # float64, which JAX would narrow.
    ),
    'empty': np.zeros((0, 3), np.float32),
    'nothing': None,
  }


def words(leaf):
  is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
  return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def assert_same(actual, expected):
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  pairs = zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True)
  for a, e in pairs:
    assert a.dtype == e.dtype and a.shape == e.shape
    assert words(a).tobytes() == words(e).tobytes()
    assert isinstance(a, np.ndarray) == isinstance(e, np.ndarray)


def test_restores_the_same_bits(tmp_path):
  arrays = make_arrays()
  host = {'seen': ['Mean(close,20)'], 'best': 0.1 + 0.2, 'none': None}
  checkpoint.save(tmp_path / 'c', 5, arrays, host)
  iteration, again, host_again = checkpoint.restore(tmp_path / 'c', arrays)
  assert (iteration, host_again) == (5, host)
  assert_same(again, arrays)
  draw = jax.random.uniform(again['keys'][1], (3,))
  np.testing.assert_array_equal(
    draw, jax.random.uniform(arrays['keys'][1], (3,))
  )


def test_restores_from_shapes_alone(tmp_path):
  arrays = {'w': jnp.arange(3.0), 'key': jax.random.key(1)}
  checkpoint.save(tmp_path, 1, arrays, {})
  shapes = jax.eval_shape(lambda: arrays)
  assert_same(checkpoint.restore(tmp_path, shapes)[1], arrays)


def test_nothing_to_restore_is_none(tmp_path):
  assert checkpoint.restore(tmp_path, {}) is None
  assert checkpoint.restore(tmp_path / 'absent', {}) is None


def test_keeps_the_last_two_and_cleans_up(tmp_path):
  left = tmp_path / 'iteration_000009.orbax-checkpoint-tmp'
  doomed = tmp_path / 'iteration_000001.deleted'
  for folder in (left, doomed):
    folder.mkdir()
    (folder / 'half').write_text('half')
  arrays = {'x': np.arange(3)}
  assert checkpoint.restore(tmp_path, arrays) is None
  for iteration in (2, 3, 4):
    checkpoint.save(tmp_path, iteration, arrays, {'i': iteration})
  names = sorted(path.name for path in tmp_path.iterdir())
  assert names == ['iteration_000003', 'iteration_000004']
  assert checkpoint.restore(tmp_path, arrays, 3)[2] == {'i': 3}
  with pytest.raises(ValueError, match='already has iteration 4'):
    checkpoint.save(tmp_path, 4, arrays, {})
  with pytest.raises(ValueError, match='no iteration 2'):
    checkpoint.restore(tmp_path, arrays, 2)


def test_names_the_leaves_that_differ(tmp_path):
  checkpoint.save(tmp_path, 1, {'w': np.zeros((2, 3)), 'b': np.zeros(1)}, {})
  like = {'w': np.zeros((2, 4)), 'c': np.zeros(1)}
  with pytest.raises(ValueError) as error:
    checkpoint.restore(tmp_path, like)
  text = str(error.value)
  assert """['w']: "float64[2, 3]" -> "float64[2, 4]\"""" in text
  assert "['b']" in text and "['c']: (absent)" in text


def test_refuses_a_leaf_that_is_no_array(tmp_path):
  with pytest.raises(TypeError, match=r"\['best'\] is a float"):
    checkpoint.save(tmp_path, 1, {'best': 0.1}, {})
  assert checkpoint.iterations(tmp_path) == []


def numbered_arrays(iteration):
  """Arrays that betray a checkpoint mixed from two iterations."""
  return {
    f'part{i}': np.full((200, 500), 10 * iteration + i, np.float32)
    for i in range(6)
  }


def save_until_killed(folder, announced):
  """Runs in a process of its own, from where the one before was killed."""
  restored = checkpoint.restore(folder, numbered_arrays(0))
  iteration = 0 if restored is None else restored[0]
  while True:
    iteration += 1
    checkpoint.save(
      folder, iteration, numbered_arrays(iteration), {'iteration': iteration}
    )
    announced.value = iteration


def let_go_until(process, announced, before):
  """Lets a process that was stopped go on to the next iteration."""
  os.kill(process.pid, signal.SIGCONT)
  while announced.value == before and process.is_alive():
    time.sleep(0.001)


def test_kill_at_any_moment_leaves_the_last_complete_checkpoint(tmp_path):
  """One that is stopped has left what one that is killed leaves."""
  context = commands.context()
  announced = context.Value('i', 0, lock=False)
  seed = random.Random(0)
  cut_short = 0
  for _ in range(4):
    process = context.Process(
      target=save_until_killed, args=(tmp_path, announced)
    )
    process.start()
    try:
      for end in (commands.hold_still, commands.hold_still, kill):
        let_go_until(process, announced, announced.value)
        time.sleep(seed.uniform(0, 0.2))
        end(process)
        complete = len(checkpoint.iterations(tmp_path))
        cut_short += len(list(tmp_path.iterdir())) > complete
        like = numbered_arrays(0)
        iteration, arrays, host = checkpoint.restore(tmp_path, like)
        assert iteration in (announced.value, announced.value + 1)
        assert host == {'iteration': iteration}
        assert_same(arrays, numbered_arrays(iteration))
    finally:
      process.kill()
  assert announced.value >= 12
  assert cut_short  # Some kills did hit a save or a deletion.


def kill(process):
  process.kill()
  process.join()
  # Killed by us, not by an error of its own.
  assert process.exitcode == -signal.SIGKILL


def flip(path, rng):
  """Changes one bit of a file."""
  content = bytearray(path.read_bytes())
  content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
  path.write_bytes(content)


def test_a_changed_bit_is_found_or_changes_nothing(tmp_path):
  """Whatever bit of whatever file: the same values, or a word of damage."""
  arrays, host = make_arrays(), {'seen': ['Mean(close,20)'], 'best': 0.3}
  whole = checkpoint.save(tmp_path / 'c', 1, arrays, host)
  rng, found = random.Random(0), 0
  files = sorted(
    p for p in whole.rglob('*') if p.is_file() and p.stat().st_size
  )
  assert len(files) > 3
  for n in range(60):
    shutil.rmtree(tmp_path / 'd', ignore_errors=True)
    shutil.copytree(tmp_path / 'c', tmp_path / 'd')
    file = files[n % len(files)].relative_to(tmp_path / 'c')
    flip(tmp_path / 'd' / file, rng)
    try:
      _, again, host_again = checkpoint.restore(tmp_path / 'd', arrays, 1)
    except checkpoint.DamagedError as error:
      assert 'iteration_000001 is damaged' in str(error)
      found += 1
    else:
      assert_same(again, arrays)
      assert host_again == host
  assert found > 10


@pytest.mark.parametrize('part', ['arrays', 'host', '_CHECKPOINT_METADATA'])
def test_a_missing_part_is_damage_or_nothing(tmp_path, part):
  arrays = make_arrays()
  place = checkpoint.save(tmp_path / 'c', 1, arrays, {})
  lost = place / part
  shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
  try:
    _, again, _ = checkpoint.restore(tmp_path / 'c', arrays)
  except checkpoint.DamagedError:
    return
  assert_same(again, arrays)


def test_set_aside_it_is_no_checkpoint_and_still_there(tmp_path):
  for _ in range(2):
    checkpoint.save(tmp_path / 'c', 1, make_arrays(), {})
    place = checkpoint.set_aside(tmp_path / 'c', 1)
    assert place.is_dir() and checkpoint.iterations(tmp_path / 'c') == []
  assert len(list((tmp_path / 'c').glob('*.damaged*'))) == 2


def test_without_digests_it_is_read_as_it_was(tmp_path, monkeypatch):
  """Folders of earlier versions go on."""
  arrays, host = make_arrays(), {'seen': ['close'], 'best': 0.3}

  def write_as_before(target, text, sized):
    saved = json.loads(text)
    for leaf in saved['leaves']:
      del leaf['sha256']
    items = {'host': checkpoint.ocp.args.JsonSave(saved)}
    items['arrays'] = checkpoint.ocp.args.PyTreeSave(sized)
    with checkpoint._checkpointer() as checkpointer:
      checkpointer.save(target, args=checkpoint.ocp.args.Composite(**items))

  monkeypatch.setattr(checkpoint, '_write', write_as_before)
  checkpoint.save(tmp_path, 1, arrays, host)
  iteration, again, host_again = checkpoint.restore(tmp_path, arrays)
  assert (iteration, host_again) == (1, host)
  assert_same(again, arrays)


@pytest.mark.parametrize(
  'change',
  [
    lambda leaf: leaf.update(stored_shape=[3, 4]),
    lambda leaf: leaf.update(sha256='0' * 64),
  ],
)
def test_other_bits_of_the_same_size_are_damage(tmp_path, monkeypatch, change):
  """The shape counts as well: its change may leave the bytes alone."""
  like, write = {'w': np.ones((4, 3), np.float32)}, checkpoint._write

  def write_other(target, text, sized):
    saved = json.loads(text)
    change(saved['leaves'][0])
    write(target, json.dumps(saved), sized)

  monkeypatch.setattr(checkpoint, '_write', write_other)
  checkpoint.save(tmp_path, 1, like, {})
  with pytest.raises(checkpoint.DamagedError, match='every checkpoint'):
    checkpoint.restore(tmp_path, like)


def test_the_one_before_a_damaged_one_is_read_and_nothing_moved(tmp_path):
  arrays, said = {'x': np.arange(50)}, []
  for iteration in (1, 2):
    place = checkpoint.save(tmp_path, iteration, arrays, {'i': iteration})
  shutil.rmtree(place / 'arrays')
  found = checkpoint.restore(tmp_path, arrays, say=said.append)
  assert (found[0], found[2]) == (1, {'i': 1})
  assert len(said) == 1 and 'iteration_000002 is damaged' in said[0]
  assert checkpoint.iterations(tmp_path) == [1, 2]
  with pytest.raises(checkpoint.DamagedError, match='iteration_000002 is dam'):
    checkpoint.restore(tmp_path, arrays, 2)


def test_the_host_part_of_the_newest_sound_one(tmp_path):
  assert checkpoint.read_host(tmp_path) is None
  for iteration in (1, 2):
    place = checkpoint.save(tmp_path, iteration, {'x': np.zeros(3)}, {
      'i': iteration
    })  # fmt: skip
  assert checkpoint.read_host(tmp_path) == {'i': 2}
  shutil.rmtree(place / 'host')
  assert checkpoint.read_host(tmp_path) == {'i': 1}
  shutil.rmtree(tmp_path / 'iteration_000001' / 'host')
  with pytest.raises(checkpoint.DamagedError):
    checkpoint.read_host(tmp_path)


def test_other_arrays_than_asked_for_are_no_damage(tmp_path):
  for iteration, size in ((1, 3), (2, 4)):
    checkpoint.save(tmp_path, iteration, {'x': np.zeros(size)}, {})
  with pytest.raises(ValueError, match=r'float64\[4\]" -> "float64\[3\]'):
    checkpoint.restore(tmp_path, {'x': np.zeros(3)})


def test_what_may_not_be_read_is_not_damaged(tmp_path, monkeypatch):
  arrays = {'x': np.arange(3)}
  for iteration in (1, 2):
    checkpoint.save(tmp_path, iteration, arrays, {})
  opened = checkpoint.Path.open

  def refuse(path, *args, **options):
    if 'iteration_000002' in str(path):
      raise PermissionError(errno.EACCES, 'Permission denied')
    return opened(path, *args, **options)

  monkeypatch.setattr(checkpoint.Path, 'open', refuse)
  with pytest.raises(RunError, match='000002.*no permission') as error:
    checkpoint.restore(tmp_path, arrays)
  assert not isinstance(error.value, checkpoint.DamagedError)


@pytest.mark.parametrize(
  'refusal',
  [
    OSError(errno.ENOSPC, 'No space left on device'),
    # As the storage of the arrays tells it.
    ValueError("RESOURCE_EXHAUSTED: Failed to write [os_error_code='28']"),
  ],
)
def test_a_full_disk_is_named_and_the_one_before_stays(
  tmp_path, monkeypatch, refusal
):
  arrays = {'x': np.arange(3)}
  checkpoint.save(tmp_path, 1, arrays, {})

  def refuse(*args, **options):
    raise refusal

  with monkeypatch.context() as patch:
    patch.setattr(checkpoint.ocp.Checkpointer, 'save', refuse)
    with pytest.raises(RunError, match='iteration_000002: the disk is full'):
      checkpoint.save(tmp_path, 2, arrays, {})
  assert checkpoint.restore(tmp_path, arrays)[0] == 1
  checkpoint.save(tmp_path, 2, arrays, {})


def test_what_the_system_refuses_is_told_once(tmp_path):
  logger, handler = logging.getLogger('absl'), logging.Handler()
  told = []
  handler.emit = told.append  # type: ignore[method-assign]
  logger.addHandler(handler)
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
  try:
    with pytest.raises(RunError, match='iteration_000001: it may not grow'):
      random_bytes = np.random.default_rng(0).bytes(1 << 20)
      checkpoint.save(tmp_path, 1, {'x': np.frombuffer(random_bytes, 'u1')}, {})
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    logger.removeHandler(handler)
  assert not told


def test_read_while_another_process_saves_it_is_always_whole(tmp_path):
  """What is replaced meanwhile is neither damaged nor missing."""
  context = commands.context()
  announced = context.Value('i', 0)
  process = context.Process(
    target=save_until_killed, args=(tmp_path, announced)
  )
  process.start()
  seen, said = [], []
  while len(set(seen)) < 8 and process.is_alive():
    found = checkpoint.restore(tmp_path, numbered_arrays(0), say=said.append)
    if found is not None:
      assert_same(found[1], numbered_arrays(found[0]))
      seen.append(found[0])
  process.kill()
  process.join()
  assert process.exitcode == -9
  assert seen == sorted(seen) and said == []
