"""The markets that a pre-training plants labels in."""

import pytest
import tiny

from alphajax import experiment, markets
from alphajax.data import long_table
from alphajax.methods import pretraining_markets, task_file
from alphajax.run import config as config_lib


@pytest.fixture(scope='module')
def market():
  return markets.load_market(tiny.get_config('pretraining'))[0]


def test_markets_of_pretraining_are_one_value(market, tmp_path):
  """The real one with panels, the panels alone, or a family of them."""
  config = tiny.get_config('pretraining')
  folder = tmp_path / 'panels'
  folder.mkdir()
  for name in ('bootstrap_000', 'gru_000', 'gru_001', 'gru_independent_000'):
    (folder / f'{name}.parquet').write_bytes(
      long_table.to_bytes(market.train.panel)
    )

  def names(which):
    config.pretrain.markets = which
    made = pretraining_markets.splits(config, market)
    return [split.name.rpartition('/')[2].partition('.')[0] for split in made]

  assert names('real') == ['train']
  with pytest.raises(
    ValueError,
    match=r"markets is 'gru', .*panels = '' has no gru_\*.parquet: make panels",
  ):
    names('gru')
  config.pretrain.panels = str(tmp_path)  # The folder of the command.
  assert names('real')[0] == 'train' and len(names('real')) == 5
  assert len(names('panels')) == 4
  assert names('gru') == ['gru_000', 'gru_001']
  assert names('bootstrap') == ['bootstrap_000']
  config.pretrain.panels = f'{folder}/gru_001.parquet'
  assert names('real') == ['train', 'gru_001']
  # A bank of other markets is not taken for these.
  now = task_file.deciding(config.to_dict())
  config.pretrain.markets = 'bootstrap'
  then = task_file.deciding(config.to_dict())
  assert {key for key in now if now[key] != then[key]} == {'pretrain.markets'}
  del config.pretrain.markets
  assert task_file.deciding(config.to_dict()) == now  # An older one.


def test_a_pretraining_of_before_the_key_goes_on():
  config = tiny.get_config('pretraining')
  old = config.to_dict()
  del old['pretrain']['markets']
  defaults = experiment.defaults_of(config)
  assert config_lib.changes(old, config.to_dict(), defaults) == []
