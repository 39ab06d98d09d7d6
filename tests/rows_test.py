"""What is kept of formulas on disk: read where it is whole, else made again."""

import shutil

import pytest
import tiny
from ml_collections import config_dict

from alphajax import experiment, train
from alphajax.language import formula as formula_lib
from alphajax.methods import archive
from alphajax.methods import screen as screen_lib
from alphajax.run import checkpoint, rows, writer


def opened(path, digest='a', size=5):
  found = rows.Rows(digest, size)
  found.open(path)
  return found


@pytest.fixture
def path(tmp_path):
  """A file of two rows."""
  written = opened(tmp_path / 'rows' / 'some.bin')
  written.put('close', b'12345')
  written.put('open', b'abcde')
  written.put('close', b'again')  # Is there.
  written.flush()
  return tmp_path / 'rows' / 'some.bin'


def test_what_was_written_is_read(path):
  again = opened(path)
  assert (again.get('close'), again.get('open')) == (b'12345', b'abcde')
  assert again.get('high') is None and again.notes == []
  again.put('high', b'     ')
  before = path.stat().st_size
  again.flush()
  again.flush()
  assert path.stat().st_size == before + 32 + 5 + 4
  assert opened(path).get('high') == b'     '
  with pytest.raises(ValueError, match='a row of 3 bytes: expected 5'):
    again.put('low', b'low')


@pytest.mark.parametrize('other', [{'digest': 'b'}, {'size': 6}])
def test_rows_of_other_settings_are_begun_anew(path, other):
  found = opened(path, **other)
  assert found.get('close') is None
  assert 'evaluated again' in found.notes[0]
  assert rows.Rows('a', 5).read(path) == set()  # A line is all that is left.


def test_a_row_that_was_cut_off_or_damaged_is_none(path):
  content = bytearray(path.read_bytes())
  path.write_bytes(content[:-3])
  found = opened(path)
  assert found.get('close') == b'12345' and found.get('open') is None
  assert 'its last row was cut off' in found.notes[0]
  found.put('open', b'abcde')  # As it is made again.
  found.flush()
  assert path.read_bytes() == content
  content[-6] ^= 1
  path.write_bytes(content)
  found = opened(path)
  assert found.get('open') is None
  assert 'open is evaluated again' in found.notes[0]
  found.put('open', b'abcde')
  found.flush()
  again = opened(path)
  assert again.get('open') == b'abcde' and again.notes == []
  path.write_bytes(b'\xff\x00 no line of ours')
  assert opened(path).get('close') is None


def test_another_file_is_copied(path, tmp_path):
  found = opened(tmp_path / 'own.bin')
  found.read(path)
  assert found.get('open') == b'abcde'
  found.flush()
  assert opened(tmp_path / 'own.bin').get('open') == b'abcde'
  assert opened(tmp_path / 'own.bin').get('close') is None


def config_of(iterations, method='random_search', **changes):
  config = tiny.with_few_programs(tiny.get_config(method))
  config.num_iterations = iterations
  config.pool.rule = 'elastic_net'
  config.screen.twin = 0.99
  config.keep_rows = True
  config.update(changes)
  return config


def contents(workdir):
  """What a run leaves, but for seconds."""
  records = writer.read(workdir / 'metrics.jsonl')
  for record in records:
    del record['seconds'], record['compile_seconds']
  host = checkpoint.read_host(workdir / 'checkpoints')
  return records, host, (workdir / 'pool.json').read_bytes()


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """What a run without rows leaves."""
  workdir = tmp_path_factory.mktemp('whole')
  train.train(config_of(3, keep_rows=False), workdir)
  assert not (workdir / 'rows').exists()
  return contents(workdir)


@pytest.fixture(scope='module')
def half(tmp_path_factory):
  """A run with rows of which an iteration is left."""
  workdir = tmp_path_factory.mktemp('half')
  train.train(config_of(2), workdir)
  return workdir


@pytest.fixture
def evaluated(monkeypatch):
  """Keys of what is evaluated and looked at meanwhile."""
  keys = set()

  def spy(module, name):
    made = getattr(module, name)

    def make(setup, formulas):
      keys.update(map(formula_lib.key, formulas))
      return made(setup, formulas)

    monkeypatch.setattr(module, name, make)

  spy(archive, '_prepare')
  spy(screen_lib, 'behaviours')
  return keys


def test_a_run_goes_on_from_its_rows(whole, half, tmp_path, evaluated):
  """With the same bits, and nothing is evaluated twice."""
  shutil.copytree(half, tmp_path / 'run')
  book = {key for key, _ in contents(half)[1]['book']}
  trained = train.train(config_of(3), tmp_path / 'run')
  assert contents(tmp_path / 'run') == whole
  assert evaluated and not evaluated & book
  evaluated.clear()
  config = config_dict.ConfigDict(config_of(3).to_dict())
  _, state = experiment.restore(config, tmp_path / 'run')
  assert state.mined.book == trained.state.mined.book and not evaluated


def test_damaged_rows_are_evaluated_again(
  whole, half, tmp_path, evaluated, capsys
):
  shutil.copytree(half, tmp_path / 'run')
  folder = tmp_path / 'run' / 'rows'
  memory = bytearray((folder / 'memory.bin').read_bytes())
  memory[-100] ^= 1
  (folder / 'memory.bin').write_bytes(memory)
  shutil.rmtree(folder / 'screen.bin', ignore_errors=True)
  (folder / 'screen.bin').write_bytes(b'{}\n')
  book = {key for key, _ in contents(half)[1]['book']}
  train.train(config_of(3), tmp_path / 'run')
  assert contents(tmp_path / 'run') == whole
  assert book <= evaluated
  said = capsys.readouterr().err
  assert said.count('is evaluated again') == 1
  assert said.count('screen.bin is of other data') == 1


def test_another_method_begins_with_the_rows(half, tmp_path, evaluated):
  book = {key for key, _ in contents(half)[1]['book']}
  config = config_of(1, 'evolution', archive=str(half))
  trained = train.train(config, tmp_path / 'run')
  assert book < trained.state.mined.book.keys()
  assert evaluated and not evaluated & book
  # And goes on without them.
  shutil.move(half / 'rows', tmp_path / 'away')
  evaluated.clear()
  config.num_iterations = 2
  train.train(config, tmp_path / 'run')
  shutil.move(tmp_path / 'away', half / 'rows')
  assert evaluated and not evaluated & book


def test_rows_of_other_labels_are_none(half, tmp_path, evaluated, capsys):
  book = {key for key, _ in contents(half)[1]['book']}
  config = config_of(1, archive=str(half))
  config.label.exit = 4
  train.train(config, tmp_path / 'run')
  assert book <= evaluated
  assert 'memory.bin is of other data, settings' in capsys.readouterr().err
