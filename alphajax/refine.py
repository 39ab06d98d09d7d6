r"""Refines one formula: parts of it are left open and filled anew.

python -m alphajax.refine --formula="Mean(close,6)-close" \
  --config=configs/alphacfg.py:csi300 --workdir=runs/refine

By default the right half of the formula is open, as in the paper; `--mask`
marks parts with `_`: `--mask="Mean(_,6)-_"`, or `_(close,20)` for an operator.
Train and validation only; the test split is never loaded. The folder gets
`refine.json`, and a table is printed.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from ml_collections import config_flags

from alphajax import experiment
from alphajax.data.panel import Split
from alphajax.factor import evaluate, metrics
from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib
from alphajax.language import masks
from alphajax.language import vocab as vocab_lib
from alphajax.language.formula import Formula
from alphajax.methods import refinement
from alphajax.run import checkpoint, folder, provenance, writer

MAY_CHANGE = ('data.path', 'store_bytes')


class Daily(NamedTuple):
  """Daily series of a signal on the scored days of a split, `[T]` each."""

  ic: np.ndarray
  rank_ic: np.ndarray


def refine(config, workdir: Path) -> dict:
  """Refines `config.refine.formula`; returns what `refine.json` holds.

  A folder that holds the result already is left as it is.

  Raises:
    ValueError: a formula, mask, bound or option that cannot be; a folder made
      by another config or for another formula.
  """
  checkpoint.check_config(workdir, config.to_dict(), MAY_CHANGE)
  done = folder.read_json(workdir / 'refine.json')
  if done is not None:
    return done
  features = config.language.get('features', vocab_lib.FEATURES)
  task = refinement.make_task(config, features)
  refinement.make_objective(config)  # Complains before data are loaded.
  market, data_hash = experiment.load_market(_with_lookback(config, task))
  bench = refinement.make_bench(config, market.train)
  refiner = refinement.make(config, task, bench)
  workdir.mkdir(parents=True, exist_ok=True)
  provenance.record(workdir, config.seed, data_hash)
  writer.write_json(workdir / 'config.json', config.to_dict())
  for note in dict.fromkeys(note for s in market for note in s.panel.notes):
    print(note, file=sys.stderr)
  rng_key = jax.random.key(config.seed)
  (workdir / 'metrics.jsonl').unlink(missing_ok=True)  # Of a killed start.
  state, reason = _search(config, refiner, rng_key, workdir)
  refined, tuned = _tune(config, bench, task, state, rng_key)
  result = {
    **describe(config, task, bench, refined, market),
    'edits': [e._asdict() for e in
              masks.edits(task.form, task.original, state.best)],
    'tuned': tuned,
    'proposed': state.proposed,
    'evaluated': len(state.book),
    'iterations': state.iteration,
    'found_at': state.best_iteration,
    'finished': reason,
  }  # fmt: skip
  writer.write_json(workdir / 'refine.json', result)
  return result


def _with_lookback(config, task: refinement.Task):
  """The config with the warm-up days that the original and its fillings need.

  Raises:
    ValueError: the config sets fewer days than the original formula needs.
  """
  own = formula_lib.lookback(task.original)
  if config.lookback and config.lookback < own:
    raise ValueError(
      f'config.lookback is {config.lookback}; {task.original} looks back {own} '
      'days: give at least as many, or 0 for as many as are needed'
    )
  config = config.copy_and_resolve_references()
  config.lookback = config.lookback or max(
    own, grammar_lib.lookback(task.grammar)
  )
  return config


def _search(config, refiner, rng_key, workdir: Path):
  """Runs the iterations. Returns the last state, and why it is the last."""
  state = refiner.init(jax.random.fold_in(rng_key, 0))
  original, start = state.best_score, time.perf_counter()
  for iteration in range(1, config.num_iterations + 1):
    reason = refiner.finished(state)
    if reason:
      return state, reason
    state = refiner.step(state, jax.random.fold_in(rng_key, iteration))
    record = {
      'iteration': iteration,
      # A formula without a value has no score.
      'score': _number(state.best_score),
      'original_score': _number(original),
      'best': formula_lib.to_text(state.best),
      'proposed': state.proposed,
      'evaluated': len(state.book),
    }
    seconds = time.perf_counter() - start
    writer.append(workdir / 'metrics.jsonl', {**record, 'seconds': seconds})
    print(
      f'iteration {iteration}/{config.num_iterations} | train '
      f'{config.refine.objective} {state.best_score:.4f}, original '
      f'{original:.4f} | {len(state.book):,} evaluated | {state.best}',
      file=sys.stderr,
      flush=True,
    )
  return state, f'{config.num_iterations} iterations done'


def _number(value: float) -> float | None:
  return value if np.isfinite(value) else None


def _tune(config, bench, task, state, rng_key):
  """The best formula, its constants tuned if asked; and what that changed."""
  if not config.refine.tune_constants:
    return state.best, None
  tune_key = jax.random.fold_in(rng_key, config.num_iterations + 1)
  tuned = refinement.tune(config, bench, state.best, tune_key)
  return tuned.formula, {
    'from': formula_lib.to_text(state.best),
    'before': list(tuned.before),
    'after': list(tuned.after),
    'without_gradient': [tuned.before[i] for i in tuned.without_gradient],
  }


def describe(config, task, bench, refined: Formula, market) -> dict:
  """Figures of original and improved formula on train and validation.

  Signs are chosen on train: a factor that scores by its negative is reported
  as that. `difference` is the paired daily difference of improved to original
  with an interval that knows of the overlap of the labels.
  """
  lag = max(config.label.exit - config.label.entry - 1, 0)
  formulas = {'original': task.original, 'improved': refined}
  result = {
    'formula': config.refine.formula,
    'mask': formula_lib.to_text(task.mask),
    'method': config.method,
    'objective': config.refine.objective,
    'max_length': task.bound,
  }
  series = {}
  for name, formula in formulas.items():
    sign = refinement.sign(bench, formula)
    series[name] = {s.name: daily(formula, s, sign) for s in market}
    result[name] = {
      'formula': formula_lib.to_text(formula),
      'sign': sign,
      'length': masks.length(formula),
      'score': refinement.score(bench, [formula])[0],
      **{s: metrics.summary(*d, lag) for s, d in series[name].items()},
    }
  result['difference'] = {
    split: {
      key: metrics.mean_interval(new - old, lag)._asdict()
      for key, new, old in zip(
        Daily._fields,
        series['improved'][split],
        series['original'][split],
        strict=True,
      )
    }
    for split in series['original']
  }
  return result


@jax.jit
def _daily(values, target, members):
  return (
    metrics.daily_ic(values, target, members),
    metrics.daily_rank_ic(values, target, members),
  )


def daily(formula: Formula, split: Split, sign: float) -> Daily:
  """Daily IC and RankIC of `sign` times a formula on the scored days."""
  (values,) = evaluate.values([formula], split.panel)
  target, members = jnp.asarray(split.target), jnp.asarray(split.panel.mask)
  days = np.flatnonzero(split.scored)
  return Daily(*(sign * np.asarray(x)[days]
                 for x in _daily(values, target, members)))  # fmt: skip


def table(result: dict) -> str:
  """A result for people."""
  lines = [f'mask      {result["mask"]}']
  for name in ('original', 'improved'):
    row = result[name]
    negative = '  (its negative is scored)' if row['sign'] < 0 else ''
    lines.append(f'{name:9} {row["formula"]}{negative}')
  for edit in result['edits']:
    lines.append(
      f'  symbol {edit["position"]}, {edit["part"]}: '
      f'{edit["before"]} -> {edit["after"]}'
    )
  lines += _tuned_lines(result['tuned'])
  lines.append(f'\n{"":18}{"original":>10}{"improved":>10}   difference')
  for split, part in result['difference'].items():
    for key, interval in part.items():
      old, new = (
        result[n][split][key]['mean'] for n in ('original', 'improved')
      )
      lines.append(
        f'{split + " " + key:18}{old:10.4f}{new:10.4f}   '
        '{mean:+.4f} [{low:+.4f}, {high:+.4f}]'.format(**interval)
      )
  lines.append(
    f'\n{result["method"]}, objective {result["objective"]} on train, '
    f'{result["evaluated"]:,} formulas evaluated; {result["finished"]}'
  )
  return '\n'.join(lines)


def _tuned_lines(tuned: dict | None) -> Sequence[str]:
  if tuned is None:
    return
  if not tuned['before']:
    yield '  constants: none to tune'
    return
  pairs = zip(tuned['before'], tuned['after'], strict=True)
  changed = [f'{old:g} -> {new:g}' for old, new in pairs if old != new]
  yield f'  constants of {tuned["from"]}: {", ".join(changed) or "kept"}'
  if tuned['without_gradient']:
    flat = ', '.join(f'{c:g}' for c in tuned['without_gradient'])
    yield (
      f'  no gradient reaches {flat} (CSRank, Rank, Sign and Med have none, '
      'and a factor of the whole formula changes nothing)'
    )


def main(argv):
  """The command."""
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments: {argv[1:]}')
  experiment.use_disk_cache()
  options = flags.FLAGS
  config = options.config
  config.refine.formula, config.refine.mask = options.formula, options.mask
  try:
    result = refine(config, Path(options.workdir))
  except (ValueError, folder.RunError) as error:
    raise SystemExit(f'error: {error}') from error
  print(table(result))


if __name__ == '__main__':
  config_flags.DEFINE_config_file('config', None, 'Path of a config.')
  flags.DEFINE_string('workdir', None, 'Folder of the result.')
  flags.DEFINE_string('formula', None, 'The formula to refine.')
  flags.DEFINE_string('mask', '', 'The formula with _ for open parts.')
  flags.mark_flags_as_required(['config', 'formula', 'workdir'])
  app.run(main)
