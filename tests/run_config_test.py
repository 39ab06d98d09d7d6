"""Whether a folder may go on with a config: what differs is shown."""

import pytest

from alphajax.run import config, files, folder
from alphajax.run.files import RunError

CONFIG = {
  'seed': 1,
  'num_iterations': 20,
  'data': {'path': 'a', 'days': (1, 2)},
}


def test_check_config_shows_what_differs(tmp_path):
  config.check_config(tmp_path, CONFIG)  # A fresh folder.
  files.write_json(tmp_path / 'config.json', CONFIG)
  config.check_config(tmp_path, CONFIG)
  other = {'seed': 1, 'num_iterations': 30, 'data': {'path': 'b', 'x': None}}
  with pytest.raises(ValueError) as error:
    config.check_config(tmp_path, other, may_change=['num_iterations'])
  assert str(error.value).splitlines()[1:4] == [
    '  data.days: [1, 2] -> (absent)',
    '  data.path: "a" -> "b"',
    '  data.x: (absent) -> null',
  ]
  assert 'num_iterations' not in str(error.value)
  config.check_config(tmp_path, other, ['num_iterations', 'data'])
  with pytest.raises(ValueError, match='num_iterations: 20 -> 30'):
    config.check_config(tmp_path, other, may_change=['num', 'data'])


def test_a_key_that_is_new_may_have_its_default(tmp_path):
  files.write_json(tmp_path / 'config.json', CONFIG)
  new = CONFIG | {'log': {'tensorboard': False}, 'bounds': (1, 2)}
  with pytest.raises(ValueError, match=r'log.tensorboard: \(absent\) -> false'):
    config.check_config(tmp_path, new)
  defaults = {'log': {'tensorboard': False}, 'bounds': (1, 2), 'seed': 7}
  assert config.check_config(tmp_path, new, defaults=defaults) == []
  other = new | {'bounds': (1, 3)}
  with pytest.raises(
    ValueError, match=r'bounds: \[1, 2\] -> \[1, 3\]'
  ) as error:
    config.check_config(tmp_path, other, defaults=defaults)
  assert 'log' not in str(error.value)
  # A default is for a key that the folder lacks, not for one that it has.
  with pytest.raises(ValueError, match='seed: 1 -> 7'):
    config.check_config(tmp_path, new | {'seed': 7}, defaults=defaults)


def test_a_key_that_went_is_a_difference(tmp_path):
  files.write_json(tmp_path / 'config.json', CONFIG | {'gone': 3})
  with pytest.raises(ValueError, match=r'gone: 3 -> \(absent\)'):
    config.check_config(tmp_path, CONFIG, defaults={'gone': 3})


def test_going_on_longer_is_told(tmp_path):
  files.write_json(tmp_path / 'config.json', CONFIG)
  longer = CONFIG | {'num_iterations': 40, 'log': {'tensorboard': True}}
  assert config.check_config(tmp_path, longer, folder.MAY_CHANGE) == [
    'log.tensorboard: (absent) -> true',
    'num_iterations: 20 -> 40',
  ]


def test_devices_may_change_and_what_is_learned_on_them_may_not(tmp_path):
  files.write_json(tmp_path / 'config.json', CONFIG)
  before = {'mesh': {'devices': 0, 'learning': False}}

  def check(**mesh):
    other = CONFIG | {'mesh': before['mesh'] | mesh}
    return config.check_config(tmp_path, other, folder.MAY_CHANGE, before)

  assert check(devices=2) == ['mesh.devices: 0 -> 2']
  with pytest.raises(ValueError, match='mesh.learning: false -> true'):
    check(learning=True)


@pytest.mark.parametrize('content', ['{', '', '[1]', 'null'])
def test_a_damaged_config_is_named(tmp_path, content):
  (tmp_path / 'config.json').write_text(content)
  with pytest.raises(RunError, match='config.json .*another --workdir'):
    config.check_config(tmp_path, CONFIG)


def test_a_work_folder_that_is_a_file_is_named(tmp_path):
  (tmp_path / 'run').write_text('')
  with pytest.raises(RunError, match='run is a file: expected a folder'):
    config.check_config(tmp_path / 'run', CONFIG)
