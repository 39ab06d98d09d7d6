"""The report of made-up runs: what it shows, what it says when it cannot."""

import html.parser
import json
import pickle
import re

import commands
import numpy as np
import pytest
from made_run import FORMULAS, make_results, make_run

from alphajax.report import (
  compare,
  days,
  factors,
  notices,
  page,
  training,
)
from alphajax.run import files, folder, writer


class Page(html.parser.HTMLParser):
  """Collects text, ids and addresses; complains about unbalanced tags."""

  VOID = {'meta', 'br', 'wbr', 'link', 'img'}

  def __init__(self, text):
    super().__init__()
    self.joins = False
    self.open, self.ids, self.addresses, self.words = [], [], [], []
    self.feed(text)
    assert not self.open
    self.text = re.sub(r'\s+', ' ', ' '.join(self.words))

  def handle_starttag(self, tag, attrs):
    if tag not in self.VOID:
      self.open.append(tag)
    self.joins = tag == 'wbr'  # A place to break, not a space.
    for name, value in attrs:
      if name == 'id':
        self.ids.append(value)
      elif name in ('src', 'href', 'xlink:href'):
        self.addresses.append(value)

  def handle_startendtag(self, tag, attrs):
    self.handle_starttag(tag, attrs)
    if tag not in self.VOID:
      self.open.pop()

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open[-1:] != ['style']:
      if self.joins:
        data = self.words.pop() + data
      self.words.append(data)
      self.joins = False


# What draws, by module: most pages here differ in their words alone.
DRAWS = {
  training: ('curves', 'losses', 'seconds'),
  days: ('cumulative', 'monthly'),
  factors: ('forest', 'heat_map'),
}
DRAWN = {}  # By function and numbers, of all pages of this process.


def drawn_once(draw):
  """The same figure of the same numbers is not drawn again."""

  def drawn(*args):
    key = draw.__name__, pickle.dumps(args)
    if key not in DRAWN:
      DRAWN[key] = draw(*args)
    return DRAWN[key]

  return drawn


def page_of(workdir, others=()):
  with pytest.MonkeyPatch.context() as patch:
    for module, names in DRAWS.items():
      for name in names:
        patch.setattr(module, name, drawn_once(getattr(module, name)))
    return Page(page.write_report(workdir, others).read_text())


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  return make_run(tmp_path_factory.mktemp('runs') / 'csi300')


def test_shows_the_pool_and_the_splits(finished):
  text = page_of(finished).text
  for formula in FORMULAS:
    assert formula in text
  for split in ('0.0712', '0.0523', '0.0371'):
    assert split in text
  assert '[0.0592, 0.0832]' in text  # The train interval.
  last = writer.read(finished / 'metrics.jsonl')[-1]
  counts = f'{last["evaluated"]:,} distinct formulas evaluated of '
  assert counts + f'{last["proposed"]:,} proposed' in text
  assert 'opened 1 time' in text
  assert 'cn_csi300.parquet' in text and '61b851e' in text
  for title in (
    'Pool IC by formulas evaluated',
    'Cumulative IC',
    'Monthly IC',
    'IC of each factor',
    'Factor correlations',
    'Losses',
    'Time by part',
  ):
    assert title in text
  assert 'iterations: the run stopped' not in text


def test_is_one_file_with_no_outside_address(finished):
  page = page_of(finished)
  own = set(page.ids)
  assert len(own) == len(page.ids)  # Figures do not share ids.
  assert page.addresses
  assert all(a.startswith('#') and a[1:] in own for a in page.addresses)
  text = (finished / 'report.html').read_text()
  used = set(re.findall(r'url\((.*?)\)', text))
  assert used and all(u.startswith('#') and u[1:] in own for u in used)
  assert '@import' not in text
  # Every stand-in colour became a variable that the page defines.
  assert '#fa00' not in text
  defined = set(re.findall(r'(--[\w]+):', text))
  assert set(re.findall(r'var\((--[\w]+)\)', text)) <= defined


def test_rows_are_ordered_by_weight_and_figures_follow(finished):
  rows = page.factor_rows(folder.load_run(finished))
  weights = [abs(row['weight']) for row in rows]
  assert weights == sorted(weights, reverse=True)
  members = json.loads((finished / 'pool.json').read_text())['factors']
  assert [members[row['index']]['formula'] for row in rows] == [
    row['formula'] for row in rows
  ]
  assert rows[0]['test']['ic']['mean'] == 0.02


def test_says_which_pool_is_the_result():
  def caption(valued=None, **config):
    run = folder.Run('a', None, [{'valued': valued}], config, *[None] * 4)
    return page._learning_caption(run)

  assert caption(9) == 'The result is the best by validation.'
  chosen = caption(9, pool={'rule': 'bagged', 'days': 100})
  assert 'chosen by bagged from all formulas evaluated. While' in chosen
  assert 'train is seen on 100 of its days' in chosen
  net = {'pool': {'rule': 'elastic_net', 'days': 100}}
  given = caption(method='published', **net)
  assert given == 'The result is weighted by elastic_net.'
  mean = caption(method='ensemble', ensemble={'weighting': 'equal'}, **net)
  assert mean == 'The result is the mean of its pools.'
  taught = caption(teacher={'runs': ['runs/a', 'runs/b'], 'held': ''})
  assert 'correlation with the signal of runs/a, runs/b' in taught
  assert 'no IC' not in caption(teacher={'runs': [], 'held': ''})


def test_a_refit_has_no_page(tmp_path):
  files.write_json(tmp_path / 'pool.json', {'refit': {'of': 'runs/a'}})
  with pytest.raises(files.RunError, match='report --workdir=runs/a` shows'):
    folder.load_run(tmp_path)


def test_formula_text_is_escaped(tmp_path):
  workdir = make_run(tmp_path / 'run', iterations=3, total=3)
  pool = json.loads((workdir / 'pool.json').read_text())
  pool['factors'][0]['formula'] = '<script>alert(1)</script>'
  files.write_json(workdir / 'pool.json', pool)
  assert '<script>alert(1)</script>' in page_of(workdir).text
  assert '<script' not in (workdir / 'report.html').read_text()


def test_metrics_cut_short_are_told_from_a_run_without_any(tmp_path):
  workdir = make_run(tmp_path / 'run', iterations=2, total=2)
  (workdir / 'checkpoints' / 'iteration_000002').mkdir(parents=True)
  assert notices.notices(folder.load_run(workdir)) == []
  metrics = workdir / 'metrics.jsonl'
  lines = metrics.read_bytes()
  for kept, said in ((-9, None), (9, 'no whole line'), (0, 'no whole line')):
    metrics.write_bytes(lines[:kept])
    if said is None:
      (found,) = notices.notices(folder.load_run(workdir))
      assert 'ends with iteration 1, but' in found
      assert 'iteration 2: lines were lost' in found
      continue
    with pytest.raises(files.RunError, match=f'{said}, but .* iteration 2: '):
      folder.load_run(workdir)
  metrics.unlink()
  with pytest.raises(files.RunError, match='jsonl is missing, but the newest'):
    folder.load_run(workdir)


def test_half_finished_run_says_what_is_missing(tmp_path):
  workdir = make_run(tmp_path / 'run', iterations=1, total=40, test=False)
  for name in ('pool.json', 'daily.npz', 'config.json', 'provenance.json'):
    (workdir / name).rename(tmp_path / name)
    text = page_of(workdir).text
    assert 'Pool IC by formulas evaluated' in text
    assert (f'{name} is missing' in text) == (name != 'provenance.json')
  (tmp_path / 'config.json').rename(workdir / 'config.json')
  text = page_of(workdir).text
  assert '1 of 40 iterations' in text
  assert 'Losses' not in text  # None in the only iteration.
  assert 'not opened' in text


def test_small_pools_and_test_opened_twice(tmp_path):
  workdir = make_run(tmp_path / 'run', iterations=2, total=2)
  pool = json.loads((workdir / 'pool.json').read_text())
  for size in (0, 1, 2):
    small = pool | {'factors': pool['factors'][:size]}
    files.write_json(workdir / 'pool.json', small)
    assert ('Factor correlations' in page_of(workdir).text) == (size == 2)
  rng = np.random.default_rng(0)
  make_results(workdir, rng, pool['factors'], 1.0, opened=3)
  text = page_of(workdir).text
  assert 'opened 3 times' in text and 'no longer' in text


def test_shows_the_pool_as_a_share_of_what_was_planted(tmp_path):
  workdir = make_run(tmp_path / 'run', iterations=2, total=2)
  assert 'of the planted' not in page_of(workdir).text
  pool = json.loads((workdir / 'pool.json').read_text())
  pool['ceiling'] = {'train': 0.0890, 'valid': 0.1046}
  files.write_json(workdir / 'pool.json', pool)
  text = page_of(workdir).text
  assert '80 % of the planted 0.0890' in text
  assert '50 % of the planted 0.1046' in text


def test_shows_what_a_rescaling_moves(tmp_path):
  workdir = make_run(tmp_path / 'run', iterations=2, total=2)
  said = 'Depends on the price level / the adjustment base'
  assert said not in page_of(workdir).text  # An old run does not say.
  pool = json.loads((workdir / 'pool.json').read_text())
  for factor in pool['factors']:
    factor['rescaled'] = {
      'price': {'days': 0.98, 'ranks': 0.6314},
      'volume': {'days': 0.0, 'ranks': 0.0},
    }
  pool['factors'][0]['rescaled'] = None
  pool['factors'][1]['rescaled']['volume'] = {'days': 0.01, 'ranks': 0.0004}
  files.write_json(workdir / 'pool.json', pool)
  text = page_of(workdir).text
  assert text.count('price 63.1 % volume none') == 8
  assert text.count('price 63.1 % volume < 0.1 %') == 1
  assert said in text


def test_bars_that_are_no_days_are_called_bars(tmp_path):
  workdir = make_run(tmp_path / 'run', iterations=2, total=2)
  text = page_of(workdir).text
  assert 'label: return over 20 days' in text and '20 bars' not in text
  for name in ('daily.npz', 'daily_test.npz'):
    series = dict(files.read_arrays(workdir / name))
    for key in series:
      if key != 'correlation':
        series[key] = series[key][::5]  # Of every week one day.
    np.savez(workdir / name, **series)
  text = page_of(workdir).text
  assert 'label: return over 20 bars' in text and '20 days' not in text
  assert text.count('bars 1,926') == 1 and 'days 1,926' not in text


def test_shows_what_is_lost_to_the_range_of_float32(tmp_path):
  workdir = make_run(tmp_path / 'run', iterations=2, total=2)
  assert 'float32' not in page_of(workdir).text  # An old run does not say.
  pool = json.loads((workdir / 'pool.json').read_text())
  for factor in pool['factors']:
    factor['train']['lost'] = factor['valid']['lost'] = 0.0
  files.write_json(workdir / 'pool.json', pool)
  assert 'float32' not in page_of(workdir).text  # Nothing is.
  pool['factors'][2]['train']['lost'] = 0.1234
  pool['factors'][2]['valid']['lost'] = 0.5
  pool['factors'][5]['valid']['lost'] = 1e-5
  files.write_json(workdir / 'pool.json', pool)
  results = json.loads((workdir / 'results.json').read_text())
  results['factors'][7]['test']['lost'] = 0.251
  files.write_json(workdir / 'results.json', results)
  text = page_of(workdir).text
  for said in ('50.0', '< 0.1', '25.1'):
    assert text.count(f'loses {said} % of its cells to float32') == 1
  assert text.count('of its cells to float32') == 3
  assert 'Cells lost to float32: the formula' in text


def test_one_curve_tells_of_formulas_and_of_iterations(finished):
  text = page_of(finished).text
  assert text.count('Pool IC by') == 1
  assert 'formulas evaluated (below: the iteration)' in text


def test_a_result_without_formulas_has_a_page(tmp_path):
  workdir = make_run(tmp_path / 'gbdt', iterations=5, total=5)
  lines = writer.read(workdir / 'metrics.jsonl')
  (workdir / 'metrics.jsonl').unlink()
  for line in lines:
    for key in ('evaluated', 'proposed', 'train_ic', 'pool_size'):
      del line[key]
    writer.append(workdir / 'metrics.jsonl', line)
  pool = json.loads((workdir / 'pool.json').read_text())
  files.write_json(workdir / 'pool.json', pool | {'factors': []})
  text = page_of(workdir).text
  assert 'a signal without formulas' in text
  assert 'no train IC and no number of formulas evaluated by iteration' in text
  assert 'signal from iteration 2' in text and '0.0523' in text
  for title in ('IC by iteration', 'Monthly IC', 'Time by part'):
    assert title in text
  for title in ('The pool', 'IC of each factor', 'Factor correlations'):
    assert title not in text
  assert 'distinct formulas' not in text


def test_a_record_of_the_iteration_alone_has_a_page(tmp_path):
  writer.append(tmp_path / 'metrics.jsonl', {'iteration': 1})
  text = page_of(tmp_path).text
  assert 'no train IC and no validation IC and no number' in text
  assert '1 iteration in 0 s' in text
  assert 'Time by part' not in text and 'IC by' not in text


def test_a_run_without_formulas_is_compared_by_iteration(tmp_path, finished):
  other = make_run(tmp_path / 'gbdt', seed=1, iterations=4, total=4)
  lines = writer.read(other / 'metrics.jsonl')
  (other / 'metrics.jsonl').unlink()
  for line in lines:
    del line['evaluated'], line['best_valid_ic']
    writer.append(other / 'metrics.jsonl', line)
  text = page_of(finished, [other]).text
  assert 'IC by iteration' in text and 'IC by formulas' not in text.replace(
    'Pool IC by formulas', ''
  )
  assert 'gbdt: best validation IC \N{EN DASH}' in text
  assert 'evaluated against' not in text


def test_shows_the_coverage_where_it_is_known(tmp_path):
  workdir = make_run(tmp_path / 'run', iterations=2, total=2)
  assert 'coverage' not in page_of(workdir).text
  pool = json.loads((workdir / 'pool.json').read_text())
  pool['pool']['valid']['coverage'] = 0.8937
  files.write_json(workdir / 'pool.json', pool)
  text = page_of(workdir).text
  assert text.count('coverage') == 1 and 'coverage 89.4 %' in text


def test_names_the_factors_that_say_the_same(tmp_path):
  workdir = make_run(tmp_path / 'run', iterations=2, total=2)
  rows = page.factor_rows(folder.load_run(workdir))
  first, third = rows[0], rows[2]
  arrays = dict(np.load(workdir / 'daily.npz'))
  correlation = np.eye(10)
  # Whatever the signs of their weights, the product opposes.
  value = -0.81 * np.sign(first['weight'] * third['weight'])
  for pair in ((first, third), (third, first)):
    correlation[pair[0]['index'], pair[1]['index']] = value
  arrays['correlation'] = correlation
  np.savez(workdir / 'daily.npz', **arrays)
  text = page_of(workdir).text
  assert 'F1 and F3 say nearly the same' in text
  assert 'oppose each other: the pool trades their small difference' in text
  arrays['correlation'] = np.eye(10)
  np.savez(workdir / 'daily.npz', **arrays)
  assert 'nearly the same' not in page_of(workdir).text


def test_draws_every_part_that_is_there(tmp_path):
  workdir = make_run(tmp_path / 'run', iterations=2, total=2)
  lines = writer.read(workdir / 'metrics.jsonl')
  (workdir / 'metrics.jsonl').unlink()
  for line in lines:
    line['seconds'] |= {'checkpoint': 0.3, 'tree_fit': 0.05}
    writer.append(workdir / 'metrics.jsonl', line)
  text = page_of(workdir).text
  order = 'search evaluation pool update checkpoint tree fit other'.split()
  legend = text[text.index('Time by part') :]
  legend = re.findall('|'.join(order), legend[: legend.index('How it was')])
  assert legend[: len(order)] == order


def test_says_that_an_evaluation_was_interrupted(tmp_path):
  workdir = make_run(tmp_path / 'run', iterations=2, total=2, test=False)
  files.write_json(workdir / 'results.json', {'opened': 1})
  text = page_of(workdir).text
  assert 'opened 1 time' in text and 'evaluate was interrupted' in text
  assert 'Test IC' not in text


def test_says_that_the_test_figures_are_of_another_pool(tmp_path):
  workdir = make_run(tmp_path / 'run', iterations=9, total=9)
  results = json.loads((workdir / 'results.json').read_text())
  at = json.loads((workdir / 'pool.json').read_text())['iteration']
  for iteration in (at, at - 1):
    files.write_json(
      workdir / 'results.json', results | {'iteration': iteration}
    )
    said = f'the pool of iteration {at - 1}, not' in page_of(workdir).text
    assert said == (iteration != at)


def test_compare_draws_both_and_pairs_the_days(tmp_path, finished):
  other = make_run(tmp_path / 'random', seed=1, skill=0.7, test=False)
  text = page_of(finished, [other]).text
  assert 'csi300 minus' in text and 'random' in text
  both = [folder.load_run(finished), folder.load_run(other)]
  row = compare.compare(both[0], both[1:])['rows'][0]
  assert list(row['differences']) == ['train', 'valid']
  _, ic, _ = both[0].series('valid')
  _, other_ic, _ = both[1].series('valid')
  found = row['differences']['valid']
  assert found['mean'] == pytest.approx(np.mean(ic - other_ic), abs=1e-6)
  assert found['low'] < found['mean'] < found['high']
  assert found['days'] == len(ic)
  assert row['warnings'] == []


def test_compare_pairs_only_common_days_and_warns(tmp_path, finished):
  other = make_run(tmp_path / 'run', seed=2, iterations=20, test=False)
  arrays = dict(np.load(other / 'daily.npz'))
  for name in ('dates', 'ic', 'rank_ic'):
    arrays[f'{name}_train'] = arrays[f'{name}_train'][100:]
  arrays['dates_valid'] = np.datetime_as_string(
    arrays['dates_valid'].astype('datetime64[D]') + np.timedelta64(4000, 'D')
  )
  np.savez(other / 'daily.npz', **arrays)
  provenance = json.loads((other / 'provenance.json').read_text())
  files.write_json(
    other / 'provenance.json', provenance | {'data_hash': 'other'}
  )
  both = [folder.load_run(finished), folder.load_run(other)]
  row = compare.compare(both[0], both[1:])['rows'][0]
  assert row['differences']['train']['days'] == len(arrays['ic_train'])
  mine = both[0].series('train')[1][100:]
  assert row['differences']['train']['mean'] == pytest.approx(
    np.mean(mine - arrays['ic_train']), abs=1e-6
  )
  assert row['differences']['valid'] == {'days': 0}
  assert row['warnings'][0] == 'other data' and 'against' in row['warnings'][1]
  assert '0 days in common' in page_of(finished, [other]).text
  for name in ('dates', 'ic', 'rank_ic'):
    arrays[f'{name}_train'] = arrays[f'{name}_train'][:19]
  np.savez(other / 'daily.npz', **arrays)
  assert '19 days in common' in page_of(finished, [other]).text


def test_errors_are_clear(tmp_path):
  with pytest.raises(files.RunError, match='no such folder'):
    folder.load_run(tmp_path / 'absent')
  with pytest.raises(files.RunError, match='it holds: nothing'):
    folder.load_run(tmp_path)
  (tmp_path / 'metrics.jsonl').write_text('{"iterat')
  with pytest.raises(files.RunError, match='no iteration was finished'):
    folder.load_run(tmp_path)
  writer.append(tmp_path / 'metrics.jsonl', {'iteration': 1})
  with pytest.raises(files.RunError, match='at most 4'):
    page.write_report(tmp_path, [tmp_path] * 5)


def test_command_ends_with_the_reason_and_no_traceback(tmp_path):
  result = commands.run('alphajax.report', f'--workdir={tmp_path}')
  assert result.returncode == 1
  assert 'metrics.jsonl' in result.stderr
  assert 'Traceback' not in result.stderr
