"""The command that makes synthetic markets: files, report, going on."""

import shutil

import commands
import numpy as np
import pytest

from alphajax import markets, synthesize
from alphajax.analysis import market_contest
from alphajax.configs import alphacfg, alphaformer, common
from alphajax.configs import synthesize as configs
from alphajax.data import market
from alphajax.data import panel as panel_lib
from alphajax.data.features import FEATURES
from alphajax.run.files import RunError

SMALL = dict(num_days=300, num_stocks=36)
FAMILIES = ('bootstrap', 'garch', 'gru')


def small():
  config = configs.get_config('simulated')
  common.use_simulated_market(config, **SMALL)
  config.data.simulate.strength = 0.0
  config.label.exit = 5
  config.synthetic.families = FAMILIES
  config.synthetic.num_panels = 1
  config.synthetic.num_days = 150
  config.synthetic.num_stocks = 22
  config.synthetic.num_factors = 1
  for name in ('gru', 'transformer', 'diffusion', 'evaluator'):
    group = config[name]
    group.width = 8
    group.num_updates, group.batch_size, group.window = 25, 6, 20
    group.update({
      key: 1 if key in ('num_layers', 'num_blocks') else 2
      for key in ('num_components', 'num_layers', 'num_blocks', 'num_heads')
      if key in group
    })  # fmt: skip
  config.diffusion.num_given, config.diffusion.sample_steps = 4, 4
  for name in ('gru', 'transformer', 'diffusion'):
    config[name].common_width = 8
  config.ensemble.num_candidates = 1
  config.quality.num_panels = 1
  config.quality.num_probes, config.quality.num_resamples = 4, 3
  return config


@pytest.mark.parametrize('name', configs.MARKETS)
def test_what_the_paper_reads_is_what_is_made(name):
  """Its two commands, one after the other."""
  made = configs.get_config(f'{name},paper')
  if name == 'simulated':
    synthesize.check(made)
  assert made.synthetic.families == ('ensemble_independent',)
  assert made.ensemble.rule == 'argmax' and made.ensemble.num_candidates == 1
  read = alphaformer.get_config(f'{name},paper')
  assert read.method == 'alphaformer_paper'
  for size in ('num_panels', 'num_days', 'num_stocks'):
    assert made.synthetic[size] == read.panels[size]
  with pytest.raises(ValueError, match='after it nothing or ,paper'):
    configs.get_config(f'{name},papers')


@pytest.fixture(scope='module', autouse=True)
def short_contests():
  """What they find is tested elsewhere."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(market_contest, 'NUM_UPDATES', 5)
    yield


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('synthesize') / 'run'
  said = []
  columns = synthesize.synthesize(small(), workdir, said.append)
  return workdir, columns, said


def test_every_family_has_its_panels(made):
  workdir, _, _ = made
  paths = sorted((workdir / 'panels').iterdir())
  assert [p.stem for p in paths] == sorted(f'{x}_000' for x in FAMILIES)
  for path in paths:
    panel = market.load(path, cache=False)
    assert panel.mask.shape == (150, 22) and panel.mask.any(1).all()
    bar = dict(zip(FEATURES, panel.features, strict=True))
    known = np.isfinite(bar['close'])
    assert (bar['volume'][known] > 0).all()
    for name in ('open', 'close'):
      assert (bar['low'] <= bar[name])[known].all()
      assert (bar[name] <= bar['high'])[known].all()


def test_another_command_trains_on_a_panel(made):
  """The markets of other configs read it like a user's file."""
  config = alphacfg.get_config('csi300')
  config.data.path = str(made[0] / 'panels' / 'garch_000.parquet')
  config.splits.train = ('2010-01-04', '2010-05-31')
  config.splits.valid = ('2010-06-01', '2010-07-30')
  config.lookback, config.label.exit = 20, 5
  loaded, _ = markets.load_market(config)
  assert loaded.train.scored.any() and loaded.valid.scored.any()


def test_the_report_puts_all_beside_the_real_days(made):
  workdir, columns, said = made
  columns = dict(columns)
  real = ['train', 'valid', 'train_low', 'train_high']
  assert list(columns) == [*real, *FAMILIES]
  low, high = columns.pop('train_low'), columns.pop('train_high')
  assert low['deviation'] < high['deviation']
  names = {tuple(one) for one in columns.values()}
  assert len(names) == 1 and set(low) < set(*names)
  assert {'kurtosis_1', 'first_factor', 'w1_change', 'mmd_time', 'copies',
          'gram', 'ic_deviation', 'told_apart', 'p_signature',
          'ic_rank_valid', 'gain_loss'} <= set(*names)  # fmt: skip
  assert columns['train']['w1_change'] == 0
  assert columns['train']['gram'] == pytest.approx(1.0)
  assert columns['bootstrap']['copies'] > columns['garch']['copies']
  text = (workdir / 'quality.txt').read_text()
  assert text.splitlines()[0].split() == ['figure', *real, *FAMILIES]
  assert (workdir / 'quality.png').read_bytes()[:4] == b'\x89PNG'
  assert 'garch: compared' in said


def test_it_goes_on_with_the_panels_that_it_lacks(made, tmp_path, monkeypatch):
  workdir = shutil.copytree(made[0], tmp_path / 'run')
  lost = workdir / 'panels' / 'garch_000.parquet'
  whole, others = (
    lost.read_bytes(),
    workdir / 'panels' / 'bootstrap_000.parquet',
  )
  before = others.stat().st_mtime_ns
  lost.unlink()
  draft = workdir / 'panels' / '.garch_000.parquet.99999999.tmp'
  draft.write_bytes(b'half')
  # It was fitted before.
  monkeypatch.setattr(synthesize.controls, 'fit_garch', None)
  config = small()
  config.synthetic.num_panels = 2
  synthesize.synthesize(config, workdir, lambda text: None)
  assert lost.read_bytes() == whole and not draft.exists()
  assert others.stat().st_mtime_ns == before
  more = (workdir / 'panels' / 'garch_001.parquet').read_bytes()
  assert more != whole


def test_only_the_training_split_is_fitted(made):
  """What comes after it is another market: the same panels."""
  config = small()
  source = synthesize.load_days(config, 'train')
  assert source.dates[-1] == config.splits.train[1]
  valid = synthesize.load_days(config, 'valid')
  assert valid.dates[0] == config.splits.valid[0]
  assert valid.dates[-1] == config.splits.valid[1]
  fitted = synthesize.controls.make_source(source, 22)
  drawn = synthesize.controls.bootstrap(
    fitted, synthesize.seed_of(config, 'bootstrap', 0), 150
  )
  back = market.load(made[0] / 'panels' / 'bootstrap_000.parquet', cache=False)
  drawn = panel_lib.take_symbols(drawn, back.symbols)
  np.testing.assert_array_equal(back.features, drawn.features)


def test_a_folder_belongs_to_one_config_and_its_data(made, tmp_path):
  workdir = shutil.copytree(made[0], tmp_path / 'run')
  config = small()
  config.synthetic.num_days = 200
  with pytest.raises(ValueError, match='synthetic.num_days: 150 -> 200'):
    synthesize.synthesize(config, workdir, lambda text: None)
  (workdir / 'source.json').write_text('{"data": "another"}')
  with pytest.raises(ValueError, match='made from other data'):
    synthesize.synthesize(small(), workdir, lambda text: None)
  (workdir / 'source.json').write_text('{')
  with pytest.raises(RunError, match='source.json is not JSON'):
    synthesize.synthesize(small(), workdir, lambda text: None)


@pytest.mark.parametrize(
  'key, value, message',
  [
    ('synthetic.families', ('garhc',), 'families is .*expected some of'),
    ('synthetic.families', (), 'expected each once'),
    ('synthetic.num_days', 10, 'num_days is 10: expected 60 or more'),
    ('synthetic.block', 0.5, 'synthetic.block is 0.5: expected 1'),
    ('quality.num_panels', 0, 'quality.num_panels is 0'),
    ('synthetic.num_stocks', 500, 'num_stocks=500: the panel has'),
    ('transformer.num_heads', 3, 'transformer.width is 8: expected a multiple'),
    ('diffusion.num_given', 20, 'num_given is 20: expected fewer days'),
    ('diffusion.sample_steps', 1, 'sample_steps is 1: expected 2'),
    ('evaluator.window', 1, 'evaluator.window is 1: expected 2'),
    ('ensemble.rule', 'best', "rule is 'best': expected one of typical, argm"),
    (
      'splits.train',
      ('2010-01-04', '2012-01-01'),
      'splits.valid begins',
    ),
  ],
)
def test_what_cannot_be_is_refused(key, value, message, tmp_path):
  config = small()
  config.update_from_flattened_dict({key: value})
  with pytest.raises(ValueError, match=message):
    synthesize.synthesize(config, tmp_path / 'x', lambda text: None)
  assert not (tmp_path / 'x' / 'panels').exists()


def test_variants():
  for name in configs.MARKETS:
    config = configs.get_config(name)
    if name != 'simulated':
      with pytest.raises(ValueError, match='data.path is not set'):
        synthesize.check(config)
      config.data.path = 'prices.csv'
    synthesize.check(config)
  with pytest.raises(ValueError, match="unknown variant 'nikkei'"):
    configs.get_config('nikkei')


def test_the_command_refuses_the_config_of_a_run(tmp_path):
  done = commands.run(
    'alphajax.cli', 'synthesize', '--config=quickstart', '--workdir=x',
    cwd=tmp_path,
  )  # fmt: skip
  assert done.returncode == 1 and 'take synthesize.py:csi300' in done.stderr
