"""The ledger: what counts as judged, where it lies, damage, many writers."""

import json
import os

import commands
import pytest

from alphajax.judge import ledger
from alphajax.language import formula as formula_lib
from alphajax.run.files import RunError


def judgement(*keys, start='2018-01-02', end='2019-12-31', **more):
  fields = {'by': 'assess', 'data': 'abc', 'label': '20', **more}
  return ledger.Judgement(start=start, end=end, keys=keys, **fields)


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'new' / 'market.ledger.jsonl'


def test_distinct_formulas_are_counted(path):
  assert ledger.append(path, judgement('a', 'b')) == (2, 2)
  assert ledger.append(path, judgement('b', 'c')) == (3, 1)
  # Again: no new ones, but a line, since days were looked at.
  assert ledger.append(path, judgement('a', 'a')) == (3, 0)
  assert ledger.append(path, judgement(by='evaluate')) == (3, 0)
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  assert [line['keys'] for line in lines] == [
    ['a', 'b'], ['b', 'c'], ['a', 'a'], []
  ]  # fmt: skip
  assert lines[3]['by'] == 'evaluate' and lines[0]['at'].endswith('+00:00')


@pytest.mark.parametrize(
  'start, end, judged',
  [
    ('2018-01-02', '2019-12-31', 2),
    ('2019-12-31', '2021-12-31', 2),  # One day is shared.
    ('2010-01-01', '2030-01-01', 2),
    ('2020-01-01', '2021-12-31', 1),
    ('2010-01-01', '2018-01-01', 1),
  ],
)
def test_days_that_are_shared_count(path, start, end, judged):
  ledger.append(path, judgement('a'))
  new = judgement('b', start=start, end=end)
  assert ledger.count(path, new) == (judged, 1)
  assert ledger.append(path, new) == (judged, 1)


def test_parts_do_not_count_beside_their_whole(path):
  ledger.append(path, judgement('a', 'b'))
  assert ledger.append(path, judgement('whole'), parts=['a', 'b']) == (1, 1)
  assert ledger.append(path, judgement('other'), parts=['a']) == (3, 1)


def test_other_data_do_not_count_and_another_label_is_judged_anew(path):
  ledger.append(path, judgement('a'))
  assert ledger.append(path, judgement('b', data='xyz')) == (1, 1)
  assert ledger.append(path, judgement('a', label='5')) == (2, 1)


def test_data_that_grow_are_the_same_days(tmp_path):
  """In the ledger of one data file all lines count, whatever the bytes were."""
  for own in ('market.ledger.jsonl', 'market-0123456789abcdef.ledger.jsonl'):
    place = tmp_path / own
    ledger.append(place, judgement('a'))  # Of an older version: without name.
    grown = judgement('b', data='xyz', name='market')
    assert ledger.append(place, grown) == (2, 1)
    renamed = judgement('c', data='xyz', name='prices')
    assert ledger.count(place, renamed) == (2, 1)  # The bytes of the last.


def test_a_ledger_that_markets_share(tmp_path):
  """The name of the data tells them apart, and of old lines the hash."""
  place = tmp_path / 'all.jsonl'
  ledger.append(place, judgement('old', data='one'))
  assert ledger.append(place, judgement('a', data='one', name='cn')) == (2, 1)
  assert ledger.append(place, judgement('b', data='two', name='us')) == (1, 1)
  assert ledger.append(place, judgement('c', data='grown', name='cn')) == (2, 1)
  assert ledger.count(place, judgement('d', data='one')) == (3, 1)
  assert ledger.data_name('~/data/cn.parquet') == 'cn'
  assert ledger.data_name('') == ''


def test_counting_writes_nothing(path):
  assert ledger.count(path, judgement('a', 'b')) == (2, 2)
  assert not path.exists()


def test_pool_keys_tell_weights_apart_and_not_orders():
  x, y = map(formula_lib.parse, ('open+close', 'volume'))
  same = formula_lib.parse('close+open')
  key = ledger.pool_key((x, y), (0.5, -1))
  assert key == ledger.pool_key((y, same), (-1.0, 0.5))
  assert key != ledger.pool_key((x, y), (0.5, 1))
  assert key.startswith('signal:')
  assert key != ledger.signal_key('x') != ledger.signal_key('y')


@pytest.mark.parametrize(
  'line, what',
  [
    ('not json', 'it is not JSON'),
    ('[1]', r'expected an object, not \[1\]'),
    ('{"at": "now"}', 'expected by, a str'),
    (json.dumps(judgement()._asdict() | {'at': '', 'keys': [1]}),
     'expected keys, a list of texts'),
    (json.dumps(judgement(name=3)._asdict() | {'at': ''}),
     'expected name, a str'),
  ],
)  # fmt: skip
def test_damaged_lines_are_refused_by_file_and_line(path, line, what):
  ledger.append(path, judgement('a'))
  with path.open('a') as file:
    file.write(line + '\n')
  ledger_text = path.read_text()
  for call in (ledger.append, ledger.count):
    with pytest.raises(RunError, match=f'line 2 is damaged: {what}') as caught:
      call(path, judgement('b'))
    assert path.read_text() == ledger_text
  # The remedy that the message ends with works.
  assert os.system(str(caught.value).rpartition(': ')[2]) == 0
  assert ledger.append(path, judgement('b')) == (2, 1)


def test_a_line_cut_off_is_damaged_and_not_continued(path):
  ledger.append(path, judgement('a'))
  path.write_text(path.read_text()[:-5])
  with pytest.raises(RunError, match='line 1 is damaged: it is cut off'):
    ledger.append(path, judgement('b'))


def test_a_folder_in_its_place_is_named(tmp_path):
  with pytest.raises(RunError, match=str(tmp_path)):
    ledger.append(tmp_path, judgement('a'))


def test_its_place(tmp_path, monkeypatch):
  monkeypatch.setenv('ALPHAJAX_CACHE', str(tmp_path / 'cache'))
  data = tmp_path / 'data' / 'market.parquet'
  data.parent.mkdir()
  data.touch()
  assert ledger.place(data, 'x') == data.with_name('market.ledger.jsonl')
  assert ledger.place(data, 'x', 'own.jsonl').name == 'own.jsonl'
  data.parent.chmod(0o555)
  elsewhere = ledger.place(data, 'x')
  data.parent.chmod(0o755)
  assert elsewhere.parent == tmp_path / 'cache' / 'ledgers'
  assert elsewhere.name.startswith('market-')
  # It is the same once the data have grown; one by their hash becomes it.
  data.parent.chmod(0o555)
  assert ledger.place(data, 'y') == elsewhere
  older = ledger.place('', 'z').name.replace('simulated', 'market')
  older = elsewhere.with_name(older)
  older.parent.mkdir(parents=True)
  older.touch()
  assert ledger.place(data, 'z') == elsewhere
  assert elsewhere.exists() and not older.exists()
  older.touch()
  assert ledger.place(data, 'z') == elsewhere and older.exists()
  data.parent.chmod(0o755)
  simulated = {ledger.place('', f'simulated:{n}') for n in range(2)}
  assert len(simulated) == 2  # A ledger a market.
  assert {path.parent for path in simulated} == {elsewhere.parent}


def _append_many(path, name):
  for number in range(20):
    ledger.append(path, judgement(f'{name}-{number}', 'shared' * 5000))


def test_processes_that_append_at_once_lose_nothing(path):
  writers = [commands.process(_append_many, (path, n)) for n in range(4)]
  for writer in writers:
    writer.start()
  for writer in writers:
    writer.join()
  assert [writer.exitcode for writer in writers] == [0] * 4
  assert len(path.read_text().splitlines()) == 80
  assert ledger.count(path, judgement()) == (81, 0)
