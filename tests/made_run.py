"""Made-up runs: folders as `train` and `evaluate` write them.

The numbers are realistic, the days those of a long run.
"""

import jax.numpy as jnp
import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.data.panel import LabelSpec
from alphajax.judge import figures as figures_lib
from alphajax.judge import joined as joined_lib
from alphajax.judge import judgement, sheet
from alphajax.run import files, writer

FORMULAS = (
  'Corr(CSRank(close),CSRank(volume),20)',
  'Mean(Log(Abs(high/low)),40)*-0.1',
  'Delta(vwap,30)/Std(close,40)',
  'Skew(volume,20)-CSRank(Med(Sub(0.05,close/Ref(close,30)),20))',
  'Less(Rank(close,40),Rank(volume,20))',
  'Cov(high-low,Log(Abs(volume)),30)',
  'Greater(EMA(close,20)/WMA(close,40),Sign(Delta(open,20)))',
  'Kurt(close/open,40)',
  'Pow(Mad(volume,30)/Mean(volume,30),0.1)',
  'Max(Corr(Sum(open,40),high-volume,20),30)-Abs(Min(Var(close/vwap,20),40))',
)
LABEL = LabelSpec(0, 20)
SPANS = {
  'train': ('2010-01-04', '2017-12-01', 0.071),
  'valid': ('2018-01-02', '2019-11-29', 0.052),
  'test': ('2021-01-04', '2024-11-29', 0.037),
}


def interval(mean, width):
  return {'mean': mean, 'low': mean - width, 'high': mean + width}


def split_scores(mean, days, width=0.012):
  return {
    'ic': interval(mean, width),
    'rank_ic': interval(1.2 * mean, width),
    'icir': 6.4 * mean,
    'rank_icir': 7.7 * mean,
    'days': days,
  }


def daily_ic(rng, days, mean):
  """A daily IC as overlapping labels make it: slow waves around the mean."""
  noise = np.convolve(rng.normal(size=days + 19), np.ones(20), 'valid')
  return mean + 0.025 * noise + 0.02 * rng.normal(size=days)


def make_metrics(rng, iterations, skill):
  records, best = [], -1.0
  for i in range(1, iterations + 1):
    growth = 1 - np.exp(-i / (0.2 * iterations))
    train = skill * (0.03 + 0.045 * growth) + 0.0008 * rng.normal()
    valid = skill * (0.025 + 0.03 * growth) + 0.002 * rng.normal()
    best = max(best, valid)
    parts = {
      'search': 14 + rng.gamma(2, 0.5) + (22 if i == 1 else 0),
      'evaluation': 9 * (0.6 + 0.4 * np.exp(-i / 9)) + rng.gamma(2, 0.3),
      'pool': 3.1 + rng.gamma(2, 0.1),
      'update': 4.2 + rng.gamma(2, 0.1),
    }
    records.append(
      {
        'iteration': i,
        'train_ic': train,
        'valid_ic': valid,
        'best_valid_ic': best,
        'proposed': 700 * i,
        'evaluated': int(650 * i**0.94),
        'valued': int(600 * i**0.94),
        'pool_size': min(10, 2 * i),
        'policy_loss': None if i == 1 else 1.4 + 1.2 * np.exp(-i / 15),
        'value_loss': None if i == 1 else 0.002 + 0.02 / i,
        'seconds': parts | {'total': sum(parts.values()) + 0.4},
        'compile_seconds': 31.5 if i == 1 else 0.0,
      }
    )
  return records


def dates_of(split):
  first, last, _ = SPANS[split]
  dates = np.arange(first, last, dtype='datetime64[D]')
  return np.datetime_as_string(dates[np.is_busday(dates)])


def make_daily(rng, splits, skill):
  daily = {}
  for split in splits:
    dates = dates_of(split)
    daily[f'dates_{split}'] = dates
    daily[f'ic_{split}'] = daily_ic(rng, len(dates), skill * SPANS[split][2])
    daily[f'rank_ic_{split}'] = daily[f'ic_{split}'] * 1.1 + 0.004
  return daily


def make_run(workdir, seed=0, iterations=40, total=40, skill=1.0, test=True):
  rng = np.random.default_rng(seed)
  workdir.mkdir(parents=True)
  for record in make_metrics(rng, iterations, skill):
    writer.append(workdir / 'metrics.jsonl', record)
  config = {
    'method': 'alphacfg' if skill == 1 else 'random',
    'seed': seed,
    'num_iterations': total,
    'data': {'path': 'cn_csi300.parquet', 'universe': 'csi300'},
    'search': {'num_simulations': 64, 'c_puct': 1.0},
    'language': {'windows': [20, 30, 40], 'max_length': 10},
  }
  files.write_json(workdir / 'config.json', config)
  files.write_json(
    workdir / 'provenance.json',
    {
      'data_hash': 'f31c0d6a9b4e',
      'seed': seed,
      'started': '2026-03-02T10:11:12+00:00',
      'versions': {'python': '3.11.7', 'jax': '0.10.2'},
      'git': {'commit': '61b851e', 'dirty': False},
      'device': 'cpu',
      'resumed': [],
    },
  )
  weights = rng.normal(size=10) * np.geomspace(1, 0.05, 10)
  factors = [
    {
      'formula': formula,
      'weight': weight,
      'train': split_scores(0.04 * np.sign(weight) + 0.01 * rng.normal(), 0),
      'valid': split_scores(
        0.025 * np.sign(weight) + 0.02 * rng.normal(), 0, 0.022
      ),
    }
    for formula, weight in zip(FORMULAS, weights, strict=True)
  ]
  best = max(1, iterations - 3)
  pool = {
    'train': split_scores(skill * 0.0712, 1926),
    'valid': split_scores(skill * 0.0523, 466, 0.02),
  }
  files.write_json(
    workdir / 'pool.json',
    {
      'iteration': best,
      'label': {'horizon': 20},
      'pool': pool,
      'factors': factors,
    },
  )
  mixed = rng.normal(size=(10, 4))
  correlation = np.corrcoef(mixed + 0.6 * mixed[:, :1])
  daily = make_daily(rng, ('train', 'valid'), skill)
  np.savez(workdir / 'daily.npz', correlation=correlation, **daily)
  if test:
    make_results(workdir, rng, factors, skill)
  return workdir


def make_results(workdir, rng, factors, skill, opened=1):
  entries = [
    {'formula': f['formula'], 'test': split_scores(0.02, 950)} for f in factors
  ]
  files.write_json(
    workdir / 'results.json',
    {
      'test': split_scores(skill * 0.0371, 950, 0.015),
      'opened': opened,
      'factors': entries,
    },
  )
  daily = make_daily(rng, ('test',), skill)
  names = {key: key.removesuffix('_test') for key in daily}
  np.savez(
    workdir / 'daily_test.npz', **{names[k]: v for k, v in daily.items()}
  )


def judge_run(workdir, name='test', seed=3, skill=0.05, stocks=40):
  """Adds the judgement of a made-up signal, as `evaluate` writes it.

  On a made-up market whose scored days are those of the test split.
  """
  rng = np.random.default_rng(seed)
  # Not those of the file, which are fewer once a run is judged: of all that are
  # judged the programs are the same.
  scored = dates_of('test')
  before = np.busday_offset(scored[0], -np.arange(260, 0, -1))
  dates = np.append(before.astype(str), scored)
  shape = (len(dates), stocks)
  moves = (
    0.02 * rng.standard_t(5, shape) + 0.01 * rng.normal(size=shape[0])[:, None]
  )
  signal = np.zeros(shape)
  for t in range(1, shape[0]):
    signal[t] = 0.9 * signal[t - 1] + rng.normal(size=stocks)
  moves[1:] += skill * 0.01 * signal[:-1]
  close = 20 * np.exp(np.cumsum(moves, 0))
  opens = close * np.exp(0.005 * rng.normal(size=shape))
  volume = rng.uniform(1e5, 1e7, shape)
  features = [opens, close, close, close, volume, close]
  panel = panel_lib.make(
    np.stack(features).astype(np.float32), np.ones(shape, bool), dates,
    [f's{i}' for i in range(stocks)],
  )  # fmt: skip
  split = panel_lib.split(
    panel, 'test', dates[260], dates[-1], lookback=260, label=LABEL
  )
  signal = signal.astype(np.float32)
  found, series = judgement.judgement(signal, split, LABEL, judged=11)
  figures, daily = figures_lib.of_signal(jnp.asarray(signal), split, LABEL)
  daily['dates'] = np.array(dates)[split.scored]
  results = files.read_json(workdir / 'results.json')
  entry = results
  if name != 'test':
    entry = results.setdefault('evaluations', {}).setdefault(name, {})
    entry |= {'opened': 1, 'split': [str(dates[260]), str(dates[-1])]}
  entry |= {'test': figures, **found}
  for number, factor in enumerate(entry.get('factors', ())):
    factor['card'] = {
      'decay': {'1': 0.012, '5': 0.021, '10': None, '20': -0.003},
      'turnover': 0.23, 'autocorrelation': 0.9,
      'published': {
        'name': f'alpha101 #{number}', 'formula': 'close',
        'correlation': -0.994 if number == 0 else 0.41,
      },
    }  # fmt: skip
  files.write_json(workdir / 'results.json', sheet.plain(results))
  files.write_arrays(workdir / f'daily_{name}.npz', series | daily)
  return entry


def make_walk(workdir, run, shift=0.0, method='alphacfg'):
  """Years walked forward whose days are those of a judged run's test split.

  shift: is added to their IC.
  """
  workdir.mkdir(parents=True)
  daily = files.read_arrays(run / 'daily_test.npz')
  results = files.read_json(run / 'results.json')
  years = np.array([date[:4] for date in daily['dates']])
  joined = joined_lib.Joined(
    dates=daily['dates'],
    symbols=np.array(['s0', 's1']),
    signal=np.zeros((len(years), 2), np.float32),
    ic=daily['ic'] + shift,
    rank_ic=daily['rank_ic'],
    fold=years,
  )
  found = joined_lib.figures(joined, LABEL.exit - 1)
  files.write_arrays(workdir / 'walk_forward.npz', joined._asdict())
  series = {
    k: x for k, x in daily.items() if k not in ('dates', 'ic', 'rank_ic')
  }
  files.write_arrays(workdir / 'daily_walk.npz', series)
  folds = [
    {'year': int(year), 'formulas': 10, 'kept': None, 'like_before': None}
    | {'opened': 1, **figures}
    for year, figures in found['folds'].items()
  ]
  summary = {'method': method, 'seed': 0, 'label': {'horizon': 20}}
  summary |= {'all': found['all'], 'folds': folds}
  summary |= {key: results[key] for key in ('sheet', 'backtest')}
  files.write_json(workdir / 'walk_forward.json', sheet.plain(summary))
  return workdir
