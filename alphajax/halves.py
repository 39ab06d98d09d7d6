r"""Out of sample within the train split: mine on one half, judge on the other.

python -m alphajax.halves --config=configs/evolution.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/halves

Both ways, and on the validation split, purged of labels that overlap. `--rules`
judges the pools of several rules on the same evaluated formulas, `--points`
those of the first so many of them too: on four spans that they have not seen. A
run's own result, without `--rules`, was chosen by validation, and so was a
teacher: there the mean is of the two halves alone. Two years of validation tell
little: this is what settings should be chosen by. The test split stays closed.
Started again with the same folder it goes on.
"""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags, logging

from alphajax import cli, markets, train
from alphajax.data import universe
from alphajax.data.panel import Split
from alphajax.factor import evaluate, runtime
from alphajax.factor import pool as pool_lib
from alphajax.judge import figures
from alphajax.language.formula import Formula
from alphajax.methods import archive, choice, given, linear, teaching
from alphajax.methods import bench as bench_lib
from alphajax.methods import memory as memory_lib
from alphajax.run import cache, files
from alphajax.run.clock import Clock

HALVES = ('first', 'second')
SPANS = ('other', 'valid')
DAILY = 'daily_halves.npz'  # What a finished run leaves last.


# Rules choose in 32 bits, as the run does, whatever the process does with JAX.
@jax.enable_x64(False)
def halves(
  config,
  workdir: str | os.PathLike,
  rules: Sequence[str] = (),
  points: Sequence[int] = (),
) -> dict[str, Any]:
  """Mines on each half of the train days and judges on what it has not seen.

  Args:
    config: of the whole run; its train split is halved.
    workdir: a run for each half, `halves.json`, `daily_halves.npz`.
    rules: whose pools are judged, of the same formulas: `algorithm1`, or what
      `choice.parse` reads; none: the run's own result.
    points: judges what each rule makes of the first so many formulas as well,
      as if the run had ended there.

  Returns:
    `{rule: {half: {'other': figures, 'valid': figures, 'size': N}}}`, and
    `mean`, the mean IC over the `spans` that chose nothing: all four, or the
    other half alone where the result or a teacher was chosen by validation; the
    first 500 formulas' by the key `RULE of 500`.

  Raises:
    ValueError: as `train`; rules where the method or the config has none.
  """
  workdir = Path(workdir).expanduser()
  if config.num_seeds != 1:
    raise ValueError(
      f'config.num_seeds is {config.num_seeds}: halves are of one seed; give '
      'each a --workdir and --config.seed of its own'
    )
  check_rules(config, rules)
  if points and not rules:
    raise ValueError('--points needs the --rules to choose by')
  if points and config.pool.keep:
    raise ValueError(
      '--points choose from the first formulas, of which some are forgotten '
      f'with config.pool.keep = {config.pool.keep}: set it to 0'
    )
  wanted: dict[str, tuple[str, int | None]] = {r: (r, None) for r in rules}
  wanted |= {f'{r} of {n}': (r, n) for r in rules for n in sorted(points)}
  days = half_days(config)
  results: dict[str, Any] = {}
  daily = {}
  for half in HALVES:
    judged, dates = _mine_and_judge(config, workdir / half, days, half, wanted)
    daily |= {f'dates_{half}_{name}': each for name, each in dates.items()}
    for rule, (size, parts) in judged.items():
      entry = results.setdefault(rule, {})
      entry[half] = {'size': size}
      for name, (summary, series) in parts.items():
        entry[half][name] = summary
        daily[f'{rule}_{half}_{name}'] = series['ic']
    runtime.forget_formulas()  # Those of the other half have other days.
  unseen = SPANS if rules and not teaching.named(config) else SPANS[:1]
  for entry in results.values():
    parts = [entry[half][span] for half in HALVES for span in unseen]
    entry['mean'] = float(np.mean([part['ic']['mean'] for part in parts]))
    entry['spans'] = list(unseen)
  files.write_json(workdir / 'halves.json', results)
  files.write_arrays(workdir / DAILY, daily)
  return results


def _mine_and_judge(config, workdir: Path, days, half: str, wanted):
  """What `_judge` says of a run on one half, and the days of each span."""
  (other,) = (name for name in HALVES if name != half)
  one = config.copy_and_resolve_references()
  one.splits.train = days[half]
  if teaching.named(config):
    one.teacher.runs = teaching.below(config, half)
  trained = train.train(one, workdir)
  splits = _span(config, days[other]), trained.market.valid
  spans = dict(zip(SPANS, splits, strict=True))
  dates = {
    name: np.array(split.panel.dates)[np.asarray(split.scored)]
    for name, split in spans.items()
  }
  return _judge(one, trained, spans, wanted), dates


def check_rules(config, rules: Sequence[str]) -> None:
  """Refuses rules that are none, or that the run keeps nothing for."""
  if rules and 'pool' not in config:
    raise _no_formulas(config.method)
  for rule in rules:
    if rule != choice.ALGORITHM_1:
      choice.parse(rule, choice.options_of(config.pool))
  if rules and config.pool.rule == choice.ALGORITHM_1:
    raise ValueError(
      f'--rules={",".join(rules)} choose from all formulas of a run, of which '
      'it keeps what they need under one of them: set '
      '--config.pool.rule=elastic_net'
    )


def half_days(config) -> dict[str, tuple[str, str]]:
  """First and last day of each half: as many scored days in both.

  Those of the halves of `config.teacher.runs`, if there are any.

  Raises:
    ValueError: one of them is no folder of halves, or of others than the first.
  """
  found = [_days_of(run) for run in teaching.named(config)]
  for run, days in zip(teaching.named(config), found, strict=True):
    if days != found[0]:
      raise ValueError(
        f'config.teacher.runs has {run}, whose halves are {days}, and those of '
        f'the first are {found[0]}: what is judged may not have been seen by a '
        'teacher'
      )
  if found:
    return found[0]
  market, _ = markets.load_market(config)
  split = market.train
  scored = np.flatnonzero(split.scored)
  middle = int(scored[len(scored) // 2])
  start, end = config.splits.train
  dates = split.panel.dates
  return {'first': (start, dates[middle - 1]), 'second': (dates[middle], end)}


def _days_of(run: str) -> dict[str, tuple[str, str]]:
  """First and last day of each half of a folder that `halves` wrote."""
  days = {}
  for half in HALVES:
    made = files.read_json(Path(run).expanduser() / half / 'config.json')
    if made is None:
      raise ValueError(
        f'config.teacher.runs has {run}: a teacher that has learned from both '
        'halves has seen what is judged; name a folder that alphajax halves '
        'wrote, whose teachers have learned from one half each'
      )
    days[half] = tuple(made['splits']['train'])
  return days


def _span(config, days: tuple[str, str]) -> Split:
  """The days of the other half, to be judged on."""
  other = config.copy_and_resolve_references()
  other.splits.train = days
  return markets.load_split(other, 'train')


def _judge(config, trained: train.Trained, spans, wanted):
  """Size, figures and series of pools on every span.

  wanted: name -> (rule, of the first so many formulas); none: the result.
  """
  label = markets.label_spec(config)
  if not wanted:
    predict = functools.partial(trained.method.predict, trained.state)
    found = trained.method.found(trained.state)
    if found is None:
      raise ValueError(
        'the run found nothing to judge: give it more iterations or another '
        'language'
      )
    parts = {
      name: figures.of_signal(predict(split.panel), split, label)
      for name, split in spans.items()
    }
    return {'result': (len(found.formulas), parts)}
  formulas, weights = choices(config, trained, list(wanted.values()))
  by_span = {
    name: signals(formulas, weights, split) for name, split in spans.items()
  }
  return {
    key: (int(np.count_nonzero(weights[i])), {
      name: figures.of_signal(by_span[name][i], split, label)
      for name, split in spans.items()
    })
    for i, key in enumerate(wanted)
  }  # fmt: skip


def choices(
  config, trained: train.Trained, wanted: Sequence[tuple[str, int | None]]
) -> tuple[list[Formula], np.ndarray]:
  """The formulas of several pools of a run's, and weights f32[wanted, N].

  wanted: (rule, of the first so many formulas; None: of all).
  """
  split, mined = trained.market.train, _mined(config, trained)
  members = universe.make(np.asarray(split.panel.mask))
  target = bench_lib.make_target(members, split.target)
  features = tuple(split.panel.feature_names)
  base = len(given.read(config, features).base)
  chooser = choice.make(config, split, members, target, base)
  assert chooser is not None  # `check_rules` has seen to it.
  known = list(mined.book)
  formulas = archive.read(known, features)
  counts = {n or len(known) for rule, n in wanted if rule == choice.ALGORITHM_1}
  pools = {}
  if np.any(np.asarray(mined.pool.ids) >= 0):  # A rule may do without.
    pools[len(known)] = mined.pool
  pools |= _pools_after(config, trained, formulas, sorted(counts - {*pools}))
  whole = np.zeros((len(wanted), len(known)), np.float32)
  for row, (rule, count) in zip(whole, wanted, strict=True):
    if rule == choice.ALGORITHM_1:
      pool = pools[count or len(known)]
      ids = np.asarray(pool.ids)
      row[ids[ids >= 0]] = np.asarray(pool.weights)[ids >= 0]
    else:
      memory = memory_lib.first(mined.memory, count or len(known))
      chosen = choice.choose(chooser, memory, rule)
      row[list(chosen.ids)] = chosen.weights
  used = np.flatnonzero(whole.any(0))
  return [formulas[i] for i in used.tolist()], whole[:, used]


def _mined(config, trained: train.Trained) -> archive.Mined:
  """The formulas of a run, which rules choose from.

  Raises:
    ValueError: its method mines none.
  """
  mined = getattr(trained.state, 'mined', None)
  if mined is None:
    raise _no_formulas(config.method)
  return mined


def _no_formulas(method: str) -> ValueError:
  return ValueError(
    f'config.method is {method!r}, which keeps no formulas for --rules to '
    'choose from: without --rules its own result is judged'
  )


def _pools_after(
  config, trained: train.Trained, formulas: list[Formula], points: Sequence[int]
) -> dict[int, pool_lib.Pool]:
  """Algorithm 1's pool after each number of formulas: they come once more."""
  if not points:
    return {}
  config = config.copy_and_resolve_references()
  config.pool.rule = choice.ALGORITHM_1
  bench = archive.make_bench(config, trained.market)
  # The base is at the front of the book; an archive comes like all others.
  bench = bench._replace(given=bench.given._replace(archive=()))
  mined, pools = archive.start(bench), {}
  for count in points:
    more = formulas[len(mined.book) : count]
    mined, _ = archive.commit(bench, mined, more, Clock())
    pools[count] = mined.pool
  return pools


def signals(
  formulas: Sequence[Formula], weights: np.ndarray, split: Split
) -> list[jax.Array]:
  """Signals f32[T, S] of several pools that share formulas."""
  store = evaluate.make_store(split.panel)
  return linear.combine_each(
    store, formulas, weights, jnp.asarray(split.panel.mask)
  )


def table(results: dict[str, Any]) -> str:
  """The figures as text."""
  wide = max(map(len, (*results, 'rule'))) + 1
  lines = [f'{"rule":{wide}}{"size":>10}{"first -> second":>18}{"valid":>8}'
           f'{"second -> first":>18}{"valid":>8}{"mean":>8}']  # fmt: skip
  for rule, entry in results.items():
    first, second = (entry[half] for half in HALVES)
    sizes = f'{first["size"]}, {second["size"]}'
    row = f'{rule:{wide}}{sizes:>10}'
    for part in (first, second):
      row += f'{part["other"]["ic"]["mean"]:18.4f}'
      row += f'{part["valid"]["ic"]["mean"]:8.4f}'
    lines.append(f'{row}{entry["mean"]:8.4f}')
  return '\n'.join(lines)


def define_flags() -> None:
  """The flags of the command."""
  train.define_flags()
  flags.DEFINE_list('rules', [], 'Pool rules judged on the same formulas.')
  flags.DEFINE_list('points', [], 'Also on the first so many of them.')


def main(argv: Sequence[str]) -> None:
  """The command."""
  cli.no_more(argv)
  cache.use_disk_cache()
  logging.set_verbosity(logging.WARNING)
  options = flags.FLAGS
  points = [_count(text) for text in options.points]
  workdir = Path(options.workdir)
  results = halves(options.config, workdir, options.rules, points)
  print(table(results))
  print(f'Written to {workdir / "halves.json"}')


def _count(text: str) -> int:
  if not text.isdecimal() or not int(text):
    raise ValueError(f'--points has {text!r}: expected numbers of formulas')
  return int(text)


if __name__ == '__main__':
  cli.run('alphajax.halves')
