"""What evaluations of a run found, however many are at it at once."""

import multiprocessing

import pytest

from alphajax.run import files, results


def test_each_changes_its_own_part(tmp_path):
  results.keep(tmp_path, 'test', {}, openings=1)
  # While the first is at work, two others open, and are done.
  results.keep(tmp_path, 'test', {}, openings=1)
  results.keep(tmp_path, 'more', {}, openings=1)
  results.keep(tmp_path, 'more', {'ic': 2})
  results.keep(tmp_path, 'test', {'ic': 3, 'best_of': 4})
  found = results.keep(tmp_path, 'test', {'ic': 1})
  assert found == {
    'opened': 2, 'ic': 1, 'evaluations': {'more': {'opened': 1, 'ic': 2}},
  }  # fmt: skip
  assert files.read_json(tmp_path / 'results.json') == found


def _open(place):
  for _ in range(40):
    results.keep(place, 'test', {}, openings=1)


def test_no_opening_is_lost(tmp_path):
  context = multiprocessing.get_context('spawn')
  others = [context.Process(target=_open, args=(tmp_path,)) for _ in range(2)]
  for other in others:
    other.start()
  for other in others:
    other.join()
    assert other.exitcode == 0
  assert files.read_json(tmp_path / 'results.json') == {'opened': 80}


def test_a_folder_that_is_none(tmp_path):
  with pytest.raises(files.RunError, match='nowhere'):
    results.keep(tmp_path / 'nowhere', 'test', {})
