"""Sweeps: what is run, what is refused, resumed and said at the end."""

import json
from pathlib import Path

import commands
import numpy as np
import pandas as pd
import pytest
import tiny

from alphajax import markets, sweep, train
from alphajax.run import folder, lock
from alphajax.run.files import RunError

TINY = str(Path(tiny.__file__))
RANDOM = f'{TINY}:random_search'


def test_variants_are_all_combinations_and_the_named_ones():
  found = sweep.variants_of(
    [RANDOM],
    varied=['pool.capacity=2,3', 'language.windows=(5,),(5,10)'],
    named=['short:language.max_length=3 pool.capacity=1'],
    settings=['num_iterations=2'],
  )
  assert list(found) == [
    'pool.capacity=2,language.windows=(5,)',
    'pool.capacity=2,language.windows=(5,10)',
    'pool.capacity=3,language.windows=(5,)',
    'pool.capacity=3,language.windows=(5,10)',
    'short',
  ]
  both = [(c.pool.capacity, c.language.windows) for c in found.values()]
  assert both == [
    (2, (5,)),
    (2, (5, 10)),
    (3, (5,)),
    (3, (5, 10)),
    (1, (5, 10)),
  ]
  assert [c.language.max_length for c in found.values()] == [4, 4, 4, 4, 3]
  assert {c.num_iterations for c in found.values()} == {2}


def test_names_say_the_config_where_there_are_several():
  assert list(sweep.variants_of([RANDOM])) == ['base']
  found = sweep.variants_of(
    [RANDOM, 'alphacfg:sp500,best'], varied=['pool.capacity=2,3']
  )
  assert list(found) == [
    'tiny-random_search,pool.capacity=2',
    'tiny-random_search,pool.capacity=3',
    'alphacfg-sp500-best,pool.capacity=2',
    'alphacfg-sp500-best,pool.capacity=3',
  ]
  assert found['alphacfg-sp500-best,pool.capacity=3'].search.openings == 0.5


@pytest.mark.parametrize(
  'given, message',
  [
    ({'varied': ['pool.capasity=2,3']}, 'capasity'),
    ({'varied': ['pool.capacity=2,many']}, 'many'),
    ({'varied': ['pool.capacity']}, 'expected KEY=VALUE,VALUE'),
    ({'varied': ['pool.capacity=2,2']}, 'is there twice'),
    ({'named': ['pool.capacity=2']}, 'expected NAME:KEY=VALUE'),
    ({'named': ['a:pool.capacity']}, "'pool.capacity' sets nothing"),
    ({'settings': ['search.policy=puct']}, 'search'),  # Of random search.
    ({'configs': ['tinny.py']}, 'no such file'),
    ({'varied': ['seed=1,2']}, r'seed=1: a sweep .* --first_seed=1 and'),
    ({'settings': ['seed=7']}, r'seed=7: a sweep .* --first_seed=7 and'),
    ({'named': ['a:seed=7']}, r'seed=7: a sweep .* --first_seed=7 and'),
    (
      {
        'settings': ['data.simulate.seed=1'],
        'seed_keys': ['data.simulate.seed'],
      },
      r'into data.simulate.seed: give',
    ),
    ({'varied': ['config.seed=1,2']}, r'without config\.: seed=1'),
    ({'settings': ['--config.seed=1']}, r'without config\.: seed=1'),
  ],
)
def test_bad_variants_are_refused(given, message):
  with pytest.raises(ValueError, match=message):
    sweep.variants_of(**{'configs': [RANDOM], **given})


@pytest.mark.parametrize(
  'name, changes, keys, message',
  [
    ('../a', {}, ['seed'], "variant '../a': no name for a folder"),
    ('a', {'num_seeds': 2}, ['seed'], 'variant a: config.num_seeds is 2'),
    ('a', {'num_iterations': 0}, ['seed'], 'variant a: config.num_iterations'),
    ('a', {}, ['seed', 'data.seed'], 'the config has no key data.seed'),
    ('a', {'method': 'ramdom'}, ['seed'], 'variant a: .*ramdom'),
    ('a', {'language.name': 'x'}, ['seed'], 'variant a: .*language.name'),
  ],
)
def test_bad_plans_are_refused(name, changes, keys, message, tmp_path):
  config = tiny.get_config('random_search')
  config.update_from_flattened_dict(changes)
  good = tiny.get_config('random_search')
  with pytest.raises(ValueError, match=message):
    sweep.plan({'good': good, name: config}, tmp_path, [0], keys)
  assert not list(tmp_path.iterdir())


@pytest.fixture(scope='module')
def swept(tmp_path_factory):
  """(variants, members, folder, rows) of a small sweep."""
  workdir = tmp_path_factory.mktemp('sweep')
  variants = sweep.variants_of(
    [RANDOM], varied=['pool.capacity=1,3'], settings=['num_iterations=2']
  )
  members = sweep.plan(
    variants, workdir, [3, 4], ['seed', 'data.simulate.seed']
  )
  loads, load = [], markets.load_market

  def spy(config):
    loads.append(config.data.simulate.seed)
    return load(config)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(markets, 'load_market', spy)
    rows = sweep.sweep(members, workdir, control='pool.capacity=1')
  assert loads == [3, 4]  # A market is loaded once for all its runs.
  return variants, members, workdir, rows


def test_every_variant_runs_with_one_seed_before_the_next(swept):
  _, members, workdir, rows = swept
  expected = [('pool.capacity=1', 3), ('pool.capacity=3', 3),
              ('pool.capacity=1', 4), ('pool.capacity=3', 4)]  # fmt: skip
  assert [(m.variant, m.seed) for m in members] == expected
  assert list(zip(rows['variant'], rows['seed'], strict=True)) == expected
  for member in members:
    assert member.workdir == workdir / member.variant / f'seed_{member.seed}'
    run = folder.load_run(member.workdir)
    assert run.config['seed'] == member.seed
    assert run.config['data']['simulate']['seed'] == member.seed
    assert len(run.metrics) == 2


def test_a_run_is_that_of_train_alone(swept, tmp_path):
  _, members, _, rows = swept
  train.train(members[3].config, tmp_path)
  for name in ('pool.json', 'config.json'):
    alone = json.loads((tmp_path / name).read_text())
    assert alone == json.loads((members[3].workdir / name).read_text())
  last = folder.load_run(tmp_path).metrics[-1]
  for name in ('train_ic', 'valid_ic', 'best_valid_ic', 'evaluated'):
    assert rows[name][3] == last[name]


def test_the_tables_hold_the_means_and_the_paired_differences(swept):
  _, _, workdir, rows = swept
  kept = pd.read_csv(workdir / 'runs.csv')
  pd.testing.assert_frame_equal(kept, rows)
  summary = pd.read_csv(
    workdir / 'summary.csv', index_col=['variant', 'figure']
  )
  row = summary.loc[('pool.capacity=3', 'train_ic')]
  ics = rows['train_ic'].to_numpy()
  less = ics[[1, 3]] - ics[[0, 2]]
  assert row['mean'] == pytest.approx(ics[[1, 3]].mean())
  assert row['less'] == pytest.approx(less.mean())
  # Two pairs: t = 12.706, standard error half of their distance.
  half = 12.7062 * abs(less[1] - less[0]) / 2
  assert row['less_high'] - row['less'] == pytest.approx(half, rel=1e-4)
  assert np.isnan(summary.loc[('pool.capacity=1', 'train_ic')]['less'])


def test_a_figure_that_the_first_run_lacks_is_said_at_once(swept, capsys):
  _, members, workdir, _ = swept
  with pytest.raises(ValueError, match="no run has the figure 'train_icc'"):
    sweep.sweep(members, workdir, ['train_ic', 'train_icc'])
  said = f'{members[0].workdir} has no figure train_icc for --figures; it has '
  assert capsys.readouterr().err.count(said) == 1


def test_finished_runs_are_skipped_and_others_continue(swept, monkeypatch):
  variants, members, workdir, rows = swept
  trained = []

  def spy(config, workdir, load_market):
    trained.append((config.num_iterations, workdir))
    return run(config, workdir, load_market)

  run = train.train
  monkeypatch.setattr(train, 'train', spy)
  again = sweep.sweep(members, workdir)
  assert not trained
  pd.testing.assert_frame_equal(again, rows)
  (members[2].workdir / 'finished.json').unlink()  # As if it had been killed.
  pd.testing.assert_frame_equal(sweep.sweep(members, workdir), rows)
  assert trained == [(2, members[2].workdir)]
  # More iterations of one variant continue its runs alone.
  longer = variants['pool.capacity=3'].copy_and_resolve_references()
  longer.num_iterations = 3
  longer = sweep.plan(
    {**variants, 'pool.capacity=3': longer}, workdir, [3, 4],
    ['seed', 'data.simulate.seed'],
  )  # fmt: skip
  trained.clear()
  rows = sweep.sweep(longer, workdir)
  assert trained == [(3, members[1].workdir), (3, members[3].workdir)]
  assert rows['iteration'].tolist() == [2, 3, 2, 3]


def test_apart_the_rows_are_in_the_order_of_the_plan(swept, monkeypatch):
  variants, _, workdir, _ = swept
  members = sweep.plan(
    variants, workdir, [3, 4], ['seed', 'data.simulate.seed']
  )
  for member in members[:2]:  # The others went on in the test before.
    (member.workdir / 'finished.json').unlink()

  def backwards(tasks, work, jobs, begin):
    assert jobs == 2
    for number, task in reversed(list(enumerate(tasks, 1))):
      begin(number, task)
      work(task)
      yield task, True

  monkeypatch.setattr(sweep.apart, 'run', backwards)
  rows = sweep.sweep(members[:2], workdir, jobs=2)
  assert list(zip(rows['variant'], rows['seed'], strict=True)) == [
    ('pool.capacity=1', 3), ('pool.capacity=3', 3)
  ]  # fmt: skip


def test_a_folder_of_another_config_is_refused_before_anything_runs(swept):
  variants, members, workdir, _ = swept
  other = {name: config.copy_and_resolve_references()
           for name, config in variants.items()}  # fmt: skip
  other['pool.capacity=3'].language.max_length = 3
  with pytest.raises(ValueError, match=r'(?s)=3: .*max_length: 4 -> 3'):
    sweep.plan(other, workdir, [3, 4], ['seed', 'data.simulate.seed'])


def test_an_unknown_option_of_the_last_variant_is_found_first(tmp_path):
  bad = tiny.get_config()
  bad.search.policy = 'gumble'
  members = sweep.plan(
    {'good': tiny.get_config('random_search'), 'bad': bad}, tmp_path, [0]
  )
  with pytest.raises(ValueError, match='variant bad: .*gumble'):
    sweep.sweep(members, tmp_path)
  assert not list(tmp_path.iterdir())


def test_an_unknown_control_is_refused_before_anything_runs(tmp_path):
  members = sweep.plan({'a': tiny.get_config('random_search')}, tmp_path, [0])
  with pytest.raises(ValueError, match='--control=b: the variants are a'):
    sweep.sweep(members, tmp_path, control='b')
  assert not list(tmp_path.iterdir())


def test_a_run_that_diverges_ends_alone(tmp_path, monkeypatch, capsys):
  config = tiny.get_config('random_search')
  config.num_iterations = 1
  members = sweep.plan({'a': config, 'b': config}, tmp_path, [0])
  run = train.train

  def diverge(config, workdir, load_market):
    if workdir == members[0].workdir:
      raise FloatingPointError('loss is not finite')
    return run(config, workdir, load_market)

  monkeypatch.setattr(train, 'train', diverge)
  with pytest.raises(
    RunError, match=r'(?s)1 of 2 runs .*a/seed_0: loss is not finite'
  ):
    sweep.sweep(members, tmp_path, control='a')
  assert pd.read_csv(tmp_path / 'runs.csv')['variant'].tolist() == ['b']
  assert '| b | 1 |' in capsys.readouterr().out


def test_errors_of_a_user_end_their_run_alone(tmp_path, monkeypatch, capsys):
  """While it trains or when it is done; the next try forgets them."""
  config = tiny.get_config('random_search')
  members = sweep.plan(dict.fromkeys('abc', config), tmp_path, [0])
  ended, broken = [], {members[0].workdir, members[1].workdir}

  def ends(config, workdir, load_market):
    if workdir == members[0].workdir and broken:
      raise ValueError('the rule leaves out all 1 formulas')
    ended.append(workdir.parent.name)
    workdir.mkdir(parents=True, exist_ok=True)
    return train.Trained(None, None, 'done', 1)

  def then(workdir):
    if workdir in broken:
      raise RunError('pool.json is damaged')

  monkeypatch.setattr(train, 'train', ends)
  monkeypatch.setattr(sweep, '_try_methods', lambda *given: None)
  monkeypatch.setattr(sweep, 'is_finished', lambda *given: False)
  monkeypatch.setattr(folder, 'load_run', lambda workdir: workdir)
  monkeypatch.setattr(sweep.apart, 'run', alone)
  for jobs in (None, 2):
    ended.clear()
    runs = sweep.train_all(members, jobs, then)
    assert next(runs)[0] == members[2]
    with pytest.raises(
      RunError,
      match=r'(?s)2 of 3 runs failed.*a/seed_0: the rule leaves out all 1 '
      r'formulas\n.*b/seed_0: pool.json is damaged',
    ):
      next(runs)
    assert ended == ['b', 'c']
    assert 'error: a, seed 0: the rule leaves' in capsys.readouterr().err
  broken.clear()
  assert len(list(sweep.train_all(members, then=then))) == 3
  assert sweep.failure(members[0].workdir) is None


def alone(tasks, work, jobs, begin):
  """As `apart.run`, in this process."""
  for task in tasks:
    work(task)
    yield task, True


def test_the_command(tmp_path):
  """As it is typed; the same again says the same, without training."""
  arguments = [
    'sweep', f'--config={TINY}:random_search', '--seeds=2', '--control=base',
    '--variant=short:language.max_length=2', '--set=num_iterations=1',
    '--figures=share.train,evaluated', f'--workdir={tmp_path}',
  ]  # fmt: skip
  first, again = (commands.run('alphajax', *arguments) for _ in range(2))
  assert first.returncode == again.returncode == 0, first.stderr
  head, _, *lines = first.stdout.splitlines()
  assert head == ('| variant | runs | share.train | less base | evaluated | '
                  'less base |')  # fmt: skip
  assert [line.split(' | ')[:2] for line in lines] == [
    ['| base', '2'], ['| short', '2']
  ]  # fmt: skip
  assert '[4/4] short, seed 1' in first.stderr
  assert again.stdout == first.stdout and '[4/4]' not in again.stderr


def test_a_run_of_before_a_key_is_finished(tmp_path):
  config = tiny.get_config('random_search')
  old = config.to_dict()
  del old['mesh'], old['backtest'], old['data']['source']
  (tmp_path / 'finished.json').write_text(json.dumps({'config': old}))
  found = {'data_hash': markets.data_hash(config)}
  (tmp_path / 'provenance.json').write_text(json.dumps(found))
  assert sweep.is_finished(tmp_path, config)
  config.mesh.devices = 1  # Which changes nothing of what was found.
  assert sweep.is_finished(tmp_path, config)
  config.mesh.learning = True  # Which changes the last digits.
  assert not sweep.is_finished(tmp_path, config)
  config.mesh.learning = False
  config.seed += 1
  assert not sweep.is_finished(tmp_path, config)


def test_a_run_that_another_process_trains_is_not_marked(tmp_path, monkeypatch):
  def finish(*_):
    raise lock.InUseError('it is in use by process 7')

  monkeypatch.setattr(sweep, '_finish', finish)
  member = sweep.Member('a', 0, None, tmp_path)
  with pytest.raises(RunError, match='in use by process 7'):
    sweep._train_one(member, None, None)
  assert sweep.failure(tmp_path) is None
