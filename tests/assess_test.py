"""`assess`: figures against those of one signal, files, claims, the page."""

import json
import types

import commands
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from alphajax import assess, markets
from alphajax.analysis import novelty
from alphajax.data.features import FEATURES
from alphajax.factor import evaluate
from alphajax.judge import batch, figures, ledger, series, signals
from alphajax.language import environment, formula_files
from alphajax.language import formula as formula_lib
from alphajax.language.formula_files import Source
from alphajax.methods import linear
from alphajax.methods.base import Found
from alphajax.report import assessment as page
from alphajax.run.files import RunError

TEXTS = (
  'Delta(close,5)/close',
  'CSRank(volume)',
  'Corr(close,volume,10)',
  'Std(close,5)*0.1',
  'close-close',
)
# What is judged looks back 9 days wherever that is not the point: as many days
# are judged then, and the programs are the same.
LONG = 'Corr(close,volume,10)'
FEW = ('alpha158 ROC5', 'alpha158 KMID')  # Compiling all takes a minute.


@pytest.fixture(autouse=True)
def few_published(monkeypatch):
  whole = novelty.published

  def published(features):
    return {name: whole(features)[name] for name in FEW}

  monkeypatch.setattr(novelty, 'published', published)


@pytest.fixture
def config(tmp_path, monkeypatch):
  monkeypatch.setattr(
    ledger, 'place', lambda *args: tmp_path / 'days.ledger.jsonl'
  )
  return tiny.get_config('random_search').copy_and_resolve_references()


def make_batch(*texts, weights=None):
  sources = [Source(f'line {n}', text) for n, text in enumerate(texts, 1)]
  found = formula_files.parse(sources, ('close', 'volume', 'open'))
  return found._replace(weights=weights)


@pytest.fixture
def judged(config):
  """What is said of the formulas and their pool, and the split."""
  given = make_batch(*TEXTS, weights=(0.5, -1.0, 0.2, 1.0, 0.0))
  found = assess.assess(config, given)
  return found, given, markets.load_split(config, 'test')


def mean(daily):
  return pytest.approx(np.nanmean(daily), abs=1e-5)


def test_figures_are_those_of_one_signal(judged, config):
  found, given, split = judged
  label = markets.label_spec(config)
  store = evaluate.make_store(split.panel)
  predict = linear.predict(Found(1, given.formulas, given.weights), split.panel)
  rows = [*found['formulas'], found['pool']]
  assert found['every'] == 1 and found['judged'] == 6 == found['new']
  for row, values in zip(
    rows, [*store.take(given.formulas), predict], strict=True
  ):
    one, daily = figures.of_signal(values, split, label)
    for name in ('ic', 'rank_ic'):
      for key in ('mean', 'low', 'high'):
        expected = pytest.approx(one[name][key], abs=1e-4)
        assert row[name][key] == expected, (row.get('formula'), name)
    assert row['icir'] == pytest.approx(one['icir'], abs=1e-3)
    assert row['rank_icir'] == pytest.approx(one['rank_icir'], abs=1e-3)
    assert row['coverage'] == pytest.approx(one['coverage'], abs=2e-3)
    assert row['days'] == one['days'] == split.scored.sum()
    after = series.mean(daily['ic'], label.exit - 1, 6)
    assert row['after']['low'] == pytest.approx(after.low, abs=1e-4)
    assert row['after']['p_value'] == pytest.approx(after.p_value, abs=1e-3)
  for row, values in zip(
    found['formulas'][:4], store.take(given.formulas[:4]), strict=True
  ):
    each = signals.decay(values, split.panel, label=label, days=split.scored)
    for horizon, figure in each.items():
      expected = pytest.approx(figure['ic']['mean'], abs=1e-4)
      assert row['decay'][str(horizon)] == expected
    turn = signals.turnover(values, split.panel)[-1]
    assert row['turnover'] == mean(turn[split.scored])
    alike = signals.rank_autocorrelation(values, split.panel)
    assert row['autocorrelation'] == mean(alike[split.scored])


def test_what_is_said(judged):
  found, _, _ = judged
  rows = {row['formula']: row for row in found['formulas']}
  momentum, rank, _, deviation, nothing = rows.values()
  assert momentum['published']['name'] == 'alpha158 ROC5'
  # `ROC5` is Ref(close,5)/close.
  assert momentum['published']['correlation'] == pytest.approx(-1, abs=1e-3)
  assert 'is alpha158 ROC5 reversed' in momentum['verdict']
  assert rank['dead'] == [{'part': 'CSRank(volume)', 'instead': 'volume'}]
  assert 'CSRank(volume) does what volume does' in rank['verdict']
  assert deviation['scale']['price'] > 0.5 and not momentum['scale']['price']
  assert 'depends on the adjustment base of the prices' in deviation['verdict']
  assert nothing['verdict'][0].startswith('no value on enough stocks')
  assert nothing['turnover'] is None and nothing['published'] is None
  assert nothing['after']['p_value'] == 1.0


def test_some_days_are_ranked(config, judged):
  whole, given, split = judged
  found = assess.assess(config, given._replace(weights=None), every=5)
  label = markets.label_spec(config)
  assert found['every'] == 5
  days = batch.sampled_days(split.scored, 5)
  np.testing.assert_array_equal(days, np.flatnonzero(split.scored)[::5])
  (values,) = evaluate.values(given.formulas[:1], split.panel)
  daily = np.asarray(
    figures.daily(
      values, jnp.asarray(split.target), jnp.asarray(split.panel.mask)
    )
  )
  expected = series.mean(daily[1][days], (label.exit - 1) // 5)
  row, before = found['formulas'][0], whole['formulas'][0]
  assert row['rank_ic']['mean'] == pytest.approx(expected.mean, abs=1e-5)
  assert row['rank_ic']['low'] == pytest.approx(expected.low, abs=1e-4)
  assert row['ic'] == pytest.approx(before['ic'], abs=1e-6)


def test_the_ledger_widens_what_is_said(config):
  one, others = make_batch(LONG), make_batch(*TEXTS[:2], 'Std(close,10)*0.1')
  first, again, more, last = (
    assess.assess(config.copy_and_resolve_references(), given)
    for given in (one, one, others, one)
  )
  assert [f['judged'] for f in (first, again, more, last)] == [1, 1, 4, 4]
  assert [f['new'] for f in (first, again, more, last)] == [1, 0, 3, 0]
  one, four = first['formulas'][0], last['formulas'][0]
  assert one['ic'] == four['ic'] == one['after']
  assert four['after']['low'] < one['ic']['low']
  assert four['after']['high'] > one['ic']['high']
  p = one['ic']['p_value']
  # Sidak's, of an error that is corrected for how few coefficients tell it.
  assert 1 - (1 - p) ** 4 < four['after']['p_value'] < 4 * p


def test_on_noise_few_claim_anything():
  """Of 100 markets of 50 formulas, overlapping labels: 5 with a claim or so."""
  rng = np.random.default_rng(0)
  days, horizon = 400, 5
  claims = 0
  for _ in range(100):
    steps = rng.standard_t(5, (50, days + horizon - 1))
    steps += rng.standard_t(5, days + horizon - 1)  # Formulas are alike.
    sums = np.cumsum(np.pad(steps, ((0, 0), (1, 0))), 1)
    ic = 0.05 * (sums[:, horizon:] - sums[:, :-horizon])
    found = [series.mean(row, horizon - 1, 50).p_value for row in ic]
    claims += min(found) < 0.05
  assert claims <= 11  # 5 are expected; 99.5 % of binomials are at most 11.


def test_a_thousand_formulas_on_noise(config):
  config.data.simulate.strength = 0.0
  language = environment.make(**config.language)
  drawn = {}
  for number in range(20):
    for formula in environment.random_formulas(
      language, jax.random.key(number), 400
    ):
      drawn[formula_lib.key(formula)] = formula_lib.to_text(formula)
  texts = list(drawn.values())[:1000]
  assert len(texts) == 1000
  features = tuple(config.language.features)
  given = formula_files.parse([Source('', text) for text in texts], features)
  found = assess.assess(config, given)
  assert found['judged'] == len(given.formulas) == 1000
  assert found['every'] == 5  # One in a horizon.
  assert found['claims'] <= 0.05 * 1000
  assert found['claims'] == sum(
    row['after']['p_value'] < 0.05 for row in found['formulas']
  )
  # All agree on the noise of this market; alone many would claim something.
  assert found['below_alone'] > found['claims']


# --- Files, flags, errors ---------------------------------------------------


@pytest.fixture
def command(tmp_path, config, monkeypatch, capsys):
  """Runs the command in this process; what it prints."""

  def run(*flags):
    options = assess.flags.FlagValues()
    with monkeypatch.context() as patch:
      patch.setattr(assess.flags, 'FLAGS', options)
      for name in ('DEFINE_multi_string', 'DEFINE_string', 'DEFINE_integer',
                   'DEFINE_enum', 'DEFINE_list', 'DEFINE_bool'):  # fmt: skip
        define = getattr(assess.flags, name)
        patch.setattr(
          assess.flags,
          name,
          lambda *a, define=define, **k: define(*a, flag_values=options, **k),
        )
      assess.define_flags()
      workdir = f'--workdir={tmp_path / "out"}'
      argv = options(
        ['assess', '--config=tests/tiny.py:random_search', workdir, *flags]
      )
      assess.main(argv)
    return capsys.readouterr().out

  return run


def test_the_command_writes_a_table_json_and_a_page(command, tmp_path):
  lines = ['# ideas', *['close/open'] * 15, 'Ref(close,-1)', 'Mean(close,5']
  lines += [f'{LONG}-close', 'CSRank(volume)']
  ideas = tmp_path / 'ideas.txt'
  ideas.write_text('\n'.join(lines))
  mine = tmp_path / 'mine.csv'
  mine.write_text('id,formula\n1,"-1*volume"\n')
  printed = command(f'--file={ideas}', f'--against={mine}')
  found = json.loads((tmp_path / 'out' / 'assess.json').read_text())
  text = (tmp_path / 'out' / 'assess.html').read_text()
  assert [row['where'] for row in found['formulas']] == [
    f'{ideas}, line {n}' for n in (2, 19, 20)
  ]
  assert found['repeated'] == 14
  first, second = found['refused']
  assert first['where'] == f'{ideas}, line 17' and first['looks_ahead']
  assert 'which would look ahead' in first['reason']
  assert second['where'] == f'{ideas}, line 18' and not second['looks_ahead']
  assert 'position 13' in second['reason'] or 'end' in second['reason']
  volume = found['formulas'][2]['against']
  assert volume['name'] == 'line 2' and volume['formula'] == '-volume'
  assert -1 <= volume['correlation'] < -0.5
  for shown in (printed, text):
    assert f'{ideas}, line 17' in shown
    assert '2 lines are no formula and were not judged, 1 of them' in shown
    assert '3 formulas were judged on these days so far' in shown
  for row in found['formulas']:
    assert row['formula'] in printed
    assert row['formula'] in text.replace('<wbr>', '')
  assert 'http' not in text.replace('http://www.w3.org', '')
  assert 'days.ledger.jsonl' in printed
  with pytest.raises(
    ValueError, match='2 of the lines are no formula, and --strict'
  ):
    command(f'--file={ideas}', '--strict')


def test_a_pool_is_judged_as_one_signal(command, tmp_path):
  pool = tmp_path / 'pool.json'
  factors = [
    {'formula': text, 'weight': w}
    for text, w in zip((LONG, 'CSRank(volume)'), (1, -0.5), strict=True)
  ]
  pool.write_text(json.dumps({'factors': factors}))
  printed = command(f'--file={pool}', '--formula=close/open')
  # More than the pool: no signal of it.
  assert 'weighted' not in printed
  printed = command(f'--file={pool}')
  assert 'the pool of all of them, weighted' in printed
  # The three formulas of before, and the pool.
  assert '4 formulas were judged on these days so far, 1 of them' in printed


@pytest.mark.parametrize(
  'flags, message',
  [
    ([], 'nothing to judge: expected --formula'),
    (['--file=no.txt'], 'no.txt: no such file; expected .txt, .json'),
    (['--formula=Maen(close,5)'], "no formula is left to judge\n--formula 1: "
     "unknown operator 'Maen'"),
    (['--formula=close', '--start=1990-01-01'], '1990-01-01'),
    (['--formula=close', '--data=none.parquet'], 'none.parquet: no such file'),
    (['--formula=close', '--set=data.universe'], 'expected KEY=VALUE'),
    (['--formula=close', '--start=1990-01-01', '--end=1990-02-01'],
     '1990-01-01..1990-02-01 lies outside the data, which cover'),
    (['--formula=Mean(close,999)'], 'too short: '),
    (['--formula=Ref($close,-2)', '--dialect=qlib'], 'which would look ahead'),
    (['--formula=Skew($close,20)'], 'name the notation, --dialect=qlib'),
  ],
)  # fmt: skip
def test_bad_input(command, flags, message, tmp_path):
  with pytest.raises(ValueError) as caught:
    command(*flags)
  assert message in str(caught.value)
  assert not (tmp_path / 'days.ledger.jsonl').exists()  # Nothing was judged.


def test_of_days_too_few_it_is_said_what_can_be_typed(config):
  dates = markets.simulated(config).panel.dates
  config.label.entry, config.label.exit = 1, 6
  for start, stop, horizon, needed, expected in (
    (60, 64, 5, 20, [(57, 64, 5), (60, 67, 5), (60, 64, 2)]),
    (60, 62, 5, 20, [(55, 62, 5), (60, 67, 5)]),
    (0, 25, 5, 20, [(0, 27, 5), (0, 25, 3)]),
    (60, len(dates), 4000, 20, [(60, len(dates), len(dates) - 62)]),
    (0, len(dates), 5, len(dates), []),
  ):
    tried = {}
    for each in ((start, stop, horizon), *expected):
      config.splits.test = dates[each[0]], dates[each[1] - 1]
      config.label.exit = 1 + each[2]
      try:
        assess._check_span(config, dates, needed)
        tried[each] = None
      except ValueError as error:
        tried[each] = str(error)
    said = tried.pop((start, stop, horizon))
    assert set(tried.values()) <= {None}, said
    advice = said.partition('; expected ')[2]
    assert advice == (
      ', or '.join(
        f'--start={dates[a]} or earlier' if a < start
        else f'--end={dates[b - 1]} or later' if b > stop
        else f'--horizon={h} or less'
        for a, b, h in expected
      )
      or 'more data, or formulas of shorter windows'
    )  # fmt: skip


def test_a_damaged_ledger_stops_it(command, tmp_path):
  (tmp_path / 'days.ledger.jsonl').write_text('{}\n')
  with pytest.raises(RunError, match='line 1 is damaged'):
    command('--formula=close')


def test_flags_make_a_config():
  options = types.SimpleNamespace(
    config=None, set=['data.universe=csi500', 'label.entry=1'], data='m.csv',
    horizon=3, features=['sector'],
  )  # fmt: skip
  config = assess.make_config(options)
  assert (config.data.path, config.data.universe) == ('m.csv', 'csi500')
  assert (config.label.entry, config.label.exit) == (1, 4)
  assert config.language.features[-1] == 'sector'


@pytest.mark.parametrize('name', ['lstm.py:sp500', 'synthesize.py:sp500'])
def test_any_config_of_a_market_is_taken(name):
  options = types.SimpleNamespace(
    config=name, set=['label.entry=1'], data='m.csv', horizon=None,
    features=['sector'],
  )  # fmt: skip
  config = assess.make_config(options)
  assert (config.label.entry, config.data.path) == (1, 'm.csv')
  assert config.language.features[-1] == 'sector'
  options.config, options.set = 'referee.py', []
  with pytest.raises(ValueError, match='config=referee.py is of no one market'):
    assess.make_config(options)


def test_codes_read_as_values_are_told_of_and_the_rest_is_kept():
  texts = ('close/open', 'Mean(board,5)', 'GroupRank(close,board)')
  batch = formula_files.parse(
    [Source(f'line {i}', text, 0.5) for i, text in enumerate(texts, 1)],
    (*FEATURES, 'board'),
  )
  assert batch.weights == (0.5,) * 3
  assert formula_files.without_codes(batch, ()) is batch
  left = formula_files.without_codes(batch, {'board'})
  assert list(map(str, left.formulas)) == [texts[0], texts[2]]
  assert left.where == ('line 1', 'line 3') and left.weights is None
  (told,) = left.refused
  assert told.where == 'line 2' and 'board holds codes of groups' in told.reason


def test_data_must_be_named():
  done = commands.run('alphajax.cli', 'assess', '--formula=close')
  assert done.returncode == 1 and 'expected --data=' in done.stderr


@pytest.mark.parametrize(
  'name, text, expected',
  [
    ('a.txt', 'close # not one\n\n#no\nopen\n', ['line 1', 'line 4']),
    ('a.jsonl', '{"formula": "close"}\n"open"\n{"x": 1}\nno\n',
     ['line 1', 'line 2', 'line 3', 'line 4']),
    ('a.csv', 'Formula,id\nclose,1\n"Mean(open,5)",2\nMean(open,5),3\n',
     ['line 2', 'line 3', 'line 4']),
    ('a.json', '["close", {"formula": "open", "weight": 1}]',
     ['factor 1', 'factor 2']),
  ],
)  # fmt: skip
def test_files_are_read(tmp_path, name, text, expected):
  path = tmp_path / name
  path.write_text(text)
  sources = formula_files.read(str(path))
  assert [s.where for s in sources] == [f'{path}, {e}' for e in expected]
  found = formula_files.parse(sources, ('open', 'close'))
  told = {f.where.rpartition(', ')[2]: f.reason for f in found.refused}
  refused = {
    'a.txt': {'line 1': 'unexpected'},
    'a.jsonl': {'line 3': 'expected {"formula"', 'line 4': 'it is not JSON'},
    'a.csv': {'line 4': 'more cells than columns: put a formula'},
    'a.json': {},
  }[name]
  assert told.keys() == refused.keys()
  assert all(refused[where] in reason for where, reason in told.items())
  assert len(found.formulas) == len(expected) - len(refused)


@pytest.mark.parametrize(
  'name, text, message',
  [
    ('a.txt', '# only\n', 'holds no formula'),
    ('a.json', '{', 'is not JSON'),
    ('a.json', '{"factors": 1}', 'expected a pool.json with a list'),
    ('a.csv', 'name\nclose\n', "expected a column 'formula', it has name"),
    ('a.csv', '', "expected a column 'formula', it has none"),
    ('a.txt', b'\xff\xfe\x00', 'is no text in UTF-8'),
  ],
)
def test_files_that_are_refused(tmp_path, name, text, message):
  path = tmp_path / name
  path.write_bytes(text if isinstance(text, bytes) else text.encode())
  with pytest.raises(ValueError, match=message):
    formula_files.read(str(path))


def test_the_page_of_formulas_without_a_figure(config):
  found = assess.assess(config, make_batch('Mean(close-close,10)'))
  assert 'no value on enough stocks' in page.render(found)
