"""The command line: `alphajax train ...` is `python -m alphajax.train ...`.

A command is a module with `define_flags()` and `main(argv)`. Here is what all
of them share: where configs are found, `--help`, `--debug`, and errors of the
user said in a line, without a traceback.
"""

import difflib
import importlib
import itertools
import os
import re
import select
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import alphajax
from alphajax.factor import memory

COMMANDS = {
  'train': ('alphajax.train', 'mine or train what a config says'),
  'sweep': ('alphajax.sweep', 'train variants with seeds, and compare them'),
  'evaluate': ('alphajax.evaluate', 'open the test split of a run'),
  'score': ('alphajax.score', 'rank the stocks of a day by a run'),
  'export': ('alphajax.export', 'write formulas for other libraries'),
  'assess': ('alphajax.assess', 'judge formulas of any origin'),
  'report': ('alphajax.report.__main__', 'write report.html of a run'),
  'refine': ('alphajax.refine', 'fill open parts of one formula anew'),
  'referee': ('alphajax.referee', 'all methods on all markets, in one table'),
  'halves': ('alphajax.halves', 'mine on half of train, judge on the rest'),
  'walk_forward': ('alphajax.walk_forward', 'train year by year, join unseen'),
  'refit': ('alphajax.refit', 'fit the weights of a pool to other days'),
  'synthesize': ('alphajax.synthesize', 'make synthetic markets, judge them'),
  'configs': ('alphajax.show_configs', 'list configs, and every key of one'),
}
CONFIGS = Path(__file__).parent / 'configs'
STOPPED = 130  # What shells return for a program that Ctrl-C ended,
UNHEARD = 141  # and for one whose output nobody reads any more.
# Commands that go on in a folder where they were stopped, and from where.
_ITERATION = 'from the last finished iteration'
RESUMED = {
  **dict.fromkeys(
    ('train', 'sweep', 'refine', 'referee', 'halves', 'walk_forward'),
    _ITERATION,
  ),
  'synthesize': 'with the panels that it lacks',
}


def main(argv: Sequence[str] | None = None) -> None:
  """The console script."""
  argv = list(sys.argv if argv is None else argv)
  name = argv[1] if len(argv) > 1 else '--help'
  if name in ('-h', '--help', 'help'):
    with_errors(lambda: print(_overview()), debug=False, resumed='')
    return
  if name in ('-V', '--version'):
    print(f'alphajax {alphajax.__version__}')
    return
  if name not in COMMANDS:
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f' Did you mean {near[0]}?' if near else ''
    sys.exit(
      f'error: unknown command {name!r}; there are {", ".join(COMMANDS)}.{hint}'
    )
  run(COMMANDS[name][0], [f'alphajax {name}', *argv[2:]])


def _overview() -> str:
  rows = '\n'.join(f'  {n:13}{help_}' for n, (_, help_) in COMMANDS.items())
  return (
    'usage: alphajax COMMAND [--flags]\n\n'
    f'{rows}\n\n'
    'alphajax COMMAND --help tells more. A first look:\n'
    '  alphajax train --config=quickstart.py --workdir=runs/quickstart\n'
    '  alphajax report --workdir=runs/quickstart'
  )


def run(module_name: str, argv: Sequence[str] | None = None) -> None:
  """Runs the command of a module; leaves the process where it fails."""
  argv = list(sys.argv if argv is None else argv)
  name = next((n for n, (m, _) in COMMANDS.items() if m == module_name), '')
  with_errors(
    lambda: _run(module_name, argv),
    debug=wants_debug(argv),
    resumed=RESUMED.get(name, ''),
  )


def wants_debug(argv: Sequence[str]) -> bool:
  """Whether a command is asked where its errors come from."""
  return bool({'--debug', '--debug=true', '--debug=True'} & set(argv))


def _run(module_name: str, argv: Sequence[str]) -> None:
  """Imports a command, which takes seconds, and calls it or prints its help."""
  from absl import flags

  _check_debug_nans()
  memory.reuse()
  module = importlib.import_module(module_name)
  before = set(flags.FLAGS)
  module.define_flags()
  names = sorted(set(flags.FLAGS) - before)
  if 'debug' not in flags.FLAGS:
    flags.DEFINE_bool('debug', False, 'Show the traceback of an error.')
  if {'-h', '--help', '-help'} & set(argv):
    print(_help(module.__doc__, [*names, 'debug']))
    return
  module.main(_parse(argv))


def _check_debug_nans() -> None:
  """Refuses what would end every command at the first missing price.

  Raises:
    ValueError: JAX is told to stop at NaN.
  """
  given = os.environ.get('JAX_DEBUG_NANS', '')
  if given.lower() in ('1', 'true', 'yes', 'y', 't', 'on'):
    raise ValueError(
      f'JAX_DEBUG_NANS={given} is set: what is missing is NaN here, and JAX '
      'would stop at the first; unset it. A run whose metrics are not finite '
      'stops by itself and keeps its state'
    )


def read_config(name: str, settings: Sequence[str] = ()):
  """The config that a command gets of `--config=NAME --config.KEY=VALUE ...`.

  Args:
    name: as of `find_config`.
    settings: `KEY=VALUE` each.

  Raises:
    ValueError: a config, key or value that cannot be.
  """
  from absl import flags
  from ml_collections import config_flags

  for setting in settings:
    if not all(setting.partition('=')[:2]):
      raise ValueError(f'{setting!r} sets nothing: expected KEY=VALUE')
    bare = re.sub(r'^(--?)?config\.', '', setting)
    if bare != setting:
      raise ValueError(
        f'{setting}: keys are named here without config.: {bare}'
      )
  argv = ['alphajax train', f'--config={find_config(name)}']
  argv += [f'--config.{setting}' for setting in settings]
  values = flags.FlagValues()
  config_flags.DEFINE_config_file('config', flag_values=values, sys_argv=argv)
  _parse(argv, values)
  return values.config


def _parse(argv: Sequence[str], values=None) -> list[str]:
  """Reads the flags, those of absl or `values`; returns what is none.

  Raises:
    ValueError: a flag, config or key of one that does not exist, or a value
      that cannot be.
  """
  from absl import flags

  given, sys.argv = sys.argv, _configs_first(argv)  # Where keys are looked for.
  try:
    values = flags.FLAGS if values is None else values
    return values(_last_ones(_find_configs(sys.argv)), known_only=False)
  except (AttributeError, KeyError, TypeError) as error:
    # What ml_collections raises for a key that no config has.
    raise ValueError(_no_key(argv, str(error.args[0]))) from error
  except flags.Error as error:
    text = str(error)
    key = re.search(r"Unknown command line flag 'config\.([\w.]+)'", text)
    if key and 'set' in values:
      raise ValueError(
        f'--config.{key[1]}: {argv[0]} sets keys of a config with --set, as in '
        f'--set={key[1]}=VALUE'
      ) from error
    if 'Traceback' in text:  # Of a config that failed: its own last words.
      text = [line for line in text.splitlines() if line.strip()][-1]
    raise ValueError(f'{text} ({argv[0]} --help lists the flags)') from error
  finally:
    sys.argv = given


def _configs_first(argv: Sequence[str]) -> list[str]:
  """Arguments with the config in front, since its keys are flags after it."""
  first, others = [argv[0]], []
  for before, text in itertools.pairwise(argv):
    names = text.startswith(('--config=', '-config='))
    is_config = names or {'--config', '-config'} & {before, text}
    (first if is_config else others).append(text)
  return first + others


def _last_ones(argv: Sequence[str]) -> list[str]:
  """Arguments in which the last value of a key of the config is the only one.

  A tuple that is given twice would be both, one behind the other.
  """
  keys = [
    text.partition('=')[0] if text.startswith('--config.') and '=' in text
    else i
    for i, text in enumerate(argv)
  ]  # fmt: skip
  last = {key: i for i, key in enumerate(keys)}
  return [text for i, text in enumerate(argv) if last[keys[i]] == i]


def _no_key(argv: Sequence[str], said: str) -> str:
  """What is said of a key that the config has not.

  argv: as it was given.
  said: by ml_collections, the key in quotes and maybe the one that was meant.
  """
  key = re.findall(r'\w+', said)[0]
  given = [each.partition('=')[0] for each in argv]
  given = [each for each in given if key in each.split('.')[1:]]
  if not given:  # Of a value that has no keys: what is said names the flag.
    return f'--config: {said}'
  named = [x.removeprefix('--config=') for x in argv if '--config=' in x]
  name = (named or ['NAME'])[0].removeprefix(f'{CONFIGS}/')
  meant = re.findall(r'Did you mean "(\w+)"', said)
  return (
    f'{given[0]}: the config has no key {key!r}; `alphajax configs '
    f'{name}` lists those that it has'
    + (f'. Did you mean {meant[0]}?' if meant else '')
  )


def no_more(argv: Sequence[str]) -> None:
  """Refuses arguments that are no flags.

  Raises:
    ValueError: there is one after the command's name.
  """
  if len(argv) > 1:
    raise ValueError(
      f'unexpected argument {argv[1]!r}; flags are written --name=value'
    )


def _find_configs(argv: Sequence[str]) -> list[str]:
  """Arguments with the config as a path: here, or one that alphajax brings."""
  found = []
  for before, argument in zip(['', *argv], argv, strict=False):
    for start in ('--config=', '-config='):
      if argument.startswith(start):
        argument = start + find_config(argument.removeprefix(start))
    if before in ('--config', '-config'):
      argument = find_config(argument)
    found.append(argument)
  return found


def find_config(name: str) -> str:
  """The path of a config, its variant after the colon kept.

  A file in the working folder goes before one that alphajax brings; `x:csi300`,
  `x.py:csi300` and `configs/x.py:csi300` are the same.

  Raises:
    ValueError: there is no such config; names those that there are.
  """
  path, colon, variant = name.partition(':')
  stem = Path(path).expanduser()
  own = CONFIGS / stem.name
  for place in (stem, stem.with_suffix('.py'), own, own.with_suffix('.py')):
    if place.is_file():
      return f'{place}{colon}{variant}'
  known = sorted(p.name for p in CONFIGS.glob('*.py') if p.stem != '__init__')
  known.remove('common.py')
  near = difflib.get_close_matches(stem.with_suffix('.py').name, known, n=1)
  hint = f'; did you mean {near[0]}?' if near else ''
  raise ValueError(
    f'--config={name}: no such file; alphajax brings {", ".join(known)}{hint}'
  )


def define_columns() -> None:
  """The flag of commands that read other data than a run did."""
  from absl import flags

  what = 'Columns of --data, theirs=ours,..., if not as before; empty: as ours.'
  flags.DEFINE_string('columns', None, what)


def define_rules() -> None:
  """A flag for each rule of a backtest; not given, it is the config's."""
  from absl import flags

  from alphajax.judge.portfolios import RULES
  from alphajax.judge.quotes import DEALS
  from alphajax.judge.rules import PAPER

  for name, default in PAPER._asdict().items():
    said = f'Of the backtest, in place of config.backtest.{name}.'
    if isinstance(default, bool):
      flags.DEFINE_bool(name, None, said)
    elif isinstance(default, int):
      flags.DEFINE_integer(name, None, said)
    elif isinstance(default, float) and name != 'stamp_duty':
      flags.DEFINE_float(name, None, said)
    elif name in ('deal', 'portfolio'):
      known = DEALS if name == 'deal' else RULES
      flags.DEFINE_enum(name, None, list(known), said)
    else:  # Words or numbers.
      flags.DEFINE_string(name, None, said)


def given_rules() -> dict[str, Any]:
  """What the flags of `define_rules` say, by name."""
  from absl import flags

  from alphajax.judge.rules import PAPER

  given = {name: flags.FLAGS[name].value for name in PAPER._fields}
  return {name: value for name, value in given.items() if value is not None}


def _help(doc: str | None, names: Sequence[str]) -> str:
  from absl import flags

  lines = [(doc or '').strip(), '', 'Flags:']
  for name in names:
    flag = flags.FLAGS[name]
    default = '' if flag.default is None else f' (default: {flag.default})'
    lines.append(f'  --{name}: {flag.help}{default}')
  if 'config' in names and 'set' not in names:
    lines.append(
      '  --config.KEY=VALUE sets a value; `alphajax configs NAME` lists them.'
    )
  return '\n'.join(lines)


def with_errors(
  call: Callable[[], None], *, debug: bool, resumed: str = _ITERATION
) -> None:
  """Calls; an error of the user ends the process with a line.

  debug: shows where it came from as well.
  resumed: from where the same command goes on once it was stopped, if it does.
  """
  try:
    call()
    sys.stdout.flush()
  except KeyboardInterrupt:
    more = f' The same command goes on {resumed}.' if resumed else ''
    sys.stderr.write(f'\nStopped.{more}\n')
    sys.exit(STOPPED)
  except Exception as error:
    if isinstance(error, BrokenPipeError) and _is_unheard():
      sys.exit(UNHEARD)
    if not _is_of_the_user(error):
      raise
    if debug:
      traceback.print_exc()
    text = str(error)
    if isinstance(error, ModuleNotFoundError):
      text += f'; pip install {error.name}' if error.name else ''
    sys.exit(f'error: {text}' + ('' if debug else _where(error)))


def _is_of_the_user(error: Exception) -> bool:
  from alphajax.run.files import RunError

  return isinstance(
    error,
    ValueError | OSError | RunError | FloatingPointError | ModuleNotFoundError,
  )


def _is_unheard() -> bool:
  """Whether nobody reads the output, as after `| head`; ends it then."""
  output = sys.stdout.fileno()
  asked = select.poll()
  asked.register(output, select.POLLOUT)
  closed = select.POLLERR | select.POLLHUP
  if not any(event & closed for _, event in asked.poll(0)):
    return False
  # What is left in the buffer would fail again at the end of the process.
  os.dup2(os.open(os.devnull, os.O_WRONLY), output)
  return True


def _where(error: BaseException) -> str:
  """How to see more, where the text may not be meant for the user."""
  at = traceback.extract_tb(error.__traceback__)[-1]
  ours = Path(at.filename).is_relative_to(Path(__file__).parent)
  return '' if ours else ' (--debug shows where)'


if __name__ == '__main__':
  main()
