"""The command line: help, where configs are, errors in a line, all keys."""

import os
import subprocess
import sys
from pathlib import Path

import commands
import pytest
from absl import flags
from ml_collections import config_flags

from alphajax import cli, show_configs

ROOT = Path(__file__).parent.parent


def command(*arguments, cwd=ROOT):
  """Runs `alphajax ...` as the console script does."""
  return commands.run('alphajax.cli', *arguments, cwd=cwd)


def test_overview_imports_no_jax():
  code = (
    'import sys, alphajax; from alphajax import cli; cli.main(["alphajax"]); '
    'assert not {"jax", "numpy", "pandas"} & set(sys.modules)'
  )
  done = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT
  )
  assert done.returncode == 0, done.stderr
  for name in cli.COMMANDS:
    assert f'\n  {name} ' in done.stdout


@pytest.mark.parametrize('name', sorted(set(cli.COMMANDS) - {'configs'}))
def test_help_of_a_command(name, tmp_path):
  done = command(name, '--help', cwd=tmp_path)
  assert done.returncode == 0 and not done.stderr
  assert '--workdir:' in done.stdout and '--debug' in done.stdout


@pytest.mark.parametrize(
  'arguments, message',
  [
    (['trian'], "unknown command 'trian'; .* Did you mean train?"),
    (['train', '--config=alphacgf.py', '--workdir=x'], 'mean alphacfg.py'),
    (['train', '--config=quickstart', '--workdir=x',
      '--config.pool.capasity=3'], "--config.pool.capasity: the config has no "
      "key 'capasity'; `alphajax configs quickstart` lists those that it has. "
      "Did you mean capacity"),
    (['train', '--config=quickstart', '--workdir=x',
      '--config.pool.capacity=many'], 'many'),
    (['train', '--config=alphacfg:nikkei', '--workdir=x'], "'nikkei'"),
    (['train', '--config=quickstart'], 'workdir'),
    (['train', '--config=quickstart', '--workdir=x', 'now'], "'now'"),
    (['train', '--config=quickstart', '--workdir=x', '--fast'], 'fast'),
    (['train', '--config=alphacfg:csi300', '--workdir=x',
      '--config.data.path=no.csv'], 'no.csv: no such file'),
    (['report', '--workdir=x'], 'x: no such folder'),
    (['evaluate', '--workdir=x', '--split=2020'], 'expected --split=2025'),
    (['refine', '--config=quickstart', '--workdir=x',
      '--formula=Maen(close,5)'], "unknown operator 'Maen'"),
    (['referee', '--config=referee:simulated', '--workdir=x',
      '--methods=randon'], "unknown method 'randon'"),
    (['configs', 'alphacgf'], 'did you mean alphacfg.py'),
  ],
)  # fmt: skip
def test_errors_of_the_user_are_lines(arguments, message, tmp_path):
  done = command(*arguments, cwd=tmp_path)
  assert done.returncode == 1
  assert 'Traceback' not in done.stderr
  assert done.stderr.startswith('error: ')
  assert len(done.stderr.splitlines()) <= 4, done.stderr
  assert message.replace('?', '').split(' .* ')[-1] in done.stderr
  assert not (tmp_path / 'x').exists()


def test_debug_shows_the_traceback(tmp_path):
  done = subprocess.run(
    [sys.executable, '-m', 'alphajax.cli', 'report', '--workdir=x', '--debug'],
    capture_output=True, text=True, cwd=tmp_path,
    env=os.environ | {'PYTHONPATH': str(ROOT)},
  )  # fmt: skip
  assert done.returncode == 1 and 'Traceback' in done.stderr


def test_ctrl_c_says_how_to_go_on(capsys):
  def stop():
    raise KeyboardInterrupt

  with pytest.raises(SystemExit) as stopped:
    cli.with_errors(stop, debug=False)
  assert stopped.value.code == 130
  assert 'The same command goes on' in capsys.readouterr().err


@pytest.mark.parametrize('name', list(cli.COMMANDS))
def test_ctrl_c_while_a_command_is_imported(name, capsys, monkeypatch):
  """Imports take seconds; only who goes on in a folder says so."""

  def stop(name):
    raise KeyboardInterrupt

  monkeypatch.setattr(cli.importlib, 'import_module', stop)
  with pytest.raises(SystemExit) as stopped:
    cli.main(['alphajax', name, '--workdir=x'])
  assert stopped.value.code == 130
  said = capsys.readouterr().err
  alone = name in ('evaluate', 'score', 'export', 'assess', 'report', 'refit',
                   'configs')  # fmt: skip
  assert said.startswith('\nStopped.')
  assert ('The same command goes on' in said) == (not alone)


@pytest.mark.parametrize('size', [10, 1 << 20])
def test_output_that_nobody_reads_ends_quietly(size, capsys, monkeypatch):
  """As after `| head -1`, whether the buffer is full before the end or not."""
  reader, writer = os.pipe()
  os.close(reader)
  with open(writer, 'w') as closed:
    monkeypatch.setattr(sys, 'stdout', closed)
    with pytest.raises(SystemExit) as ended:
      cli.with_errors(lambda: print('x' * size), debug=False)
  assert ended.value.code == 141
  assert capsys.readouterr().err == ''


def test_a_broken_pipe_elsewhere_is_an_error(tmp_path, monkeypatch):
  def fail():
    raise BrokenPipeError(32, 'Broken pipe')

  with (tmp_path / 'out').open('w') as output:
    monkeypatch.setattr(sys, 'stdout', output)
    with pytest.raises(SystemExit, match='error: .*Broken pipe'):
      cli.with_errors(fail, debug=False)


def test_a_bug_is_no_error_of_the_user():
  with pytest.raises(TypeError):
    cli.with_errors(lambda: len(3), debug=False)


def test_configs_are_found_here_then_in_the_package(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  ours = str(cli.CONFIGS / 'alphacfg.py')
  for name in ('alphacfg', 'alphacfg.py', 'configs/alphacfg.py'):
    assert cli.find_config(f'{name}:csi300') == f'{ours}:csi300'
  (tmp_path / 'alphacfg.py').write_text('')
  assert cli.find_config('alphacfg') == 'alphacfg.py'
  assert cli.find_config('alphacfg.py:x') == 'alphacfg.py:x'


def test_a_config_is_read_as_a_command_reads_it():
  config = cli.read_config(
    'alphacfg:simulated,best',
    ['pool.capacity=3', 'language.windows=(5,)', 'search.reuse_subtree=true'],
  )
  assert config.search.openings == 0.5 and config.search.reuse_subtree is True
  assert config.pool.capacity == 3 and config.language.windows == (5,)
  assert cli.read_config('alphacfg').pool.capacity == 10  # None is kept.
  # What is said last counts, of tuples as well.
  twice = ['language.windows=(5,)', 'seed=1', 'language.windows=(7,9)']
  assert cli.read_config('alphacfg', twice).language.windows == (7, 9)


@pytest.mark.parametrize('named', [['--config=random'], ['--config', 'random']])
def test_a_key_may_stand_before_the_config(named):
  argv = ['train', '--config.seed=7', 'more', *named, '--config.early_stop=0.5']
  values = flags.FlagValues()
  config_flags.DEFINE_config_file('config', flag_values=values)
  assert cli._parse(argv, values) == ['train', 'more']
  assert values.config.seed == 7 and values.config.early_stop == 0.5


@pytest.mark.parametrize(
  'name, setting, message',
  [
    ('alphacfg', 'pool.capasity=3', 'capasity'),
    ('alphacfg', 'pool.capacity=many', 'many'),
    ('alphacfg', 'pool.capacity', "'pool.capacity' sets nothing"),
    ('alphacfg:nikkei', 'seed=1', "'nikkei'"),
    ('alphacgf', 'seed=1', 'mean alphacfg.py'),
  ],
)
def test_what_no_command_reads_is_refused(name, setting, message):
  with pytest.raises(ValueError, match=message):
    cli.read_config(name, [setting])


def test_stopping_at_nan_is_refused_for_it_means_missing(monkeypatch):
  monkeypatch.setenv('JAX_DEBUG_NANS', 'True')
  with pytest.raises(SystemExit, match='JAX_DEBUG_NANS=True is set: .* unset'):
    cli.main(['alphajax', 'configs', 'alphacfg'])


def test_a_key_where_a_command_has_set_says_so():
  from absl import flags

  values = flags.FlagValues()
  flags.DEFINE_multi_string('set', [], '', flag_values=values)
  with pytest.raises(ValueError, match=r'--set=pool.capacity=VALUE$'):
    cli._parse(['alphajax sweep', '--config.pool.capacity=3'], values)


@pytest.mark.parametrize(
  'name',
  [
    'alphacfg:sp500,best',
    'alphacfg:csi300,learning',
    'alphacfg:csi300,prior',
    'alphaformer',
    'alphaformer:csi300,pretrain',
    'alphaformer:csi300,finetune',
    'alphaformer_paper',
    'alphagen',
    'alphaqcm',
    'alstm',
    'best',
    'ensemble',
    'evolution:csi300,proposer',
    'gflownet',
    'gp',
    'lightgbm',
    'linear',
    'lstm',
    'published',
    'quickstart',
    'random',
    'retrieval',
    'synthesize:sp500',
    'tcn',
    'transformer',
    'xgboost',
  ],  # fmt: skip
)
def test_every_key_has_a_meaning(name):
  lines = show_configs.describe(name).splitlines()
  keys = [n for n, line in enumerate(lines) if line.startswith('--config.')]
  assert len(keys) > 30
  for n in keys:
    assert lines[n + 1].startswith('    ') and lines[n + 1].strip(), lines[n]


def test_meanings_are_those_of_the_comments(tmp_path):
  path = tmp_path / 'a.py'
  path.write_text(
    'def get_config():\n'
    '  x = 1  # Not of a key.\n'
    '  # Above one,\n  # in two lines.\n'
    '  config.a = 2\n'
    "  config.b.c = (1,\n    2)  # Behind '#'.\n"
    '  config.d = dict(e=1)  # A group.\n'
  )
  known = show_configs.meanings([path])
  assert known == {
    'a': 'Above one, in two lines.',
    'b.c': "Behind '#'.",
    'd': 'A group.',
  }
  assert show_configs.meaning_of('d.e', known) == 'A group.'
  assert show_configs.meaning_of('f', known) == ''


def test_listing():
  text = show_configs.listing()
  assert 'alphacfg.py' in text and 'common.py' not in text


def test_a_config_that_is_no_python_file_is_refused(tmp_path):
  path = tmp_path / 'notes.txt'
  path.write_text('config = 1')
  with pytest.raises(ValueError, match='notes.txt: not a Python file'):
    show_configs.describe(str(path))
