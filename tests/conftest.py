"""What several test files share."""

import contextlib
import shutil

import pytest

from alphajax.run import cache

KEPT_BYTES = 1 << 30  # Of compiled programs; all tests need a tenth of it.


# Files of few tests that take long come first: else one worker would wait for
# the other at the end.
LONG = """
  benchmark train walk_forward wide examples tree_lstm languages options refine
  configs halves sweep ensemble refit neutral planting library symbols
  formula_values evaluate_store stream assess
""".split()
# Files of whole runs, of search, languages and networks, which compile far more
# than they compute: with `scripts/test.sh` quickly. What checks values of
# formulas and figures is compiled as users have it.
QUICK = """
  advice alphaformer archive assess assessment_page bars benchmark checkpoint
  choice cli configs contributing ensemble environment evaluate evolution
  evolution_method examples experiment export folder formula_transformer given
  grammar gumbel halves heads judgement languages learning ledger losses
  market_quality masks mcts neutral noise novelty openings options orders paths
  planted_tasks planting presets pretrained priors progress provenance readme
  refine refit replay report report_browser report_figures report_judged resume
  retrieval reuse rewards rollout sampling score screen scripts seeds selection
  sequence simulate soundness state sweep symbols synthesize synthetic
  tensorboard train transpositions tree tree_lstm tune typed walk_forward
  writer
""".split()


def pytest_addoption(parser):
  parser.addoption(
    '--compiled', choices=('fully', 'quickly'), help='only files that are'
  )


def pytest_collection_modifyitems(config, items):
  """Long files first, the others in their order; some only, if asked."""

  def name(item):
    return item.path.stem.removesuffix('_test')

  wanted = config.getoption('--compiled')
  if wanted:
    quickly = wanted == 'quickly'
    others = [item for item in items if (name(item) in QUICK) != quickly]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if (name(item) in QUICK) == quickly]
  items.sort(key=lambda item: name(item) not in LONG)


def pytest_configure(config):
  """Empties what `disk_cache` keeps where it has grown, before it is read."""
  kept = getattr(config, 'cache', None)
  if kept is None or hasattr(config, 'workerinput'):
    return
  folder = kept.mkdir('xla')
  if sum(path.stat().st_size for path in folder.iterdir()) > KEPT_BYTES:
    shutil.rmtree(folder)


@pytest.fixture(scope='session', autouse=True)
def disk_cache(tmp_path_factory, pytestconfig):
  """Compiled programs, shared by all tests and processes of a session.

  They stay in pytest's cache for the next session: a program is looked up by
  what it computes, its options and the versions, so changed code compiles anew.
  Loaded panels do not stay.
  """
  shared = tmp_path_factory.getbasetemp().parent / 'alphajax_cache'
  kept = getattr(pytestconfig, 'cache', None)
  if kept is not None:  # -p no:cacheprovider
    shared.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):  # Another worker was first.
      (shared / 'xla').symlink_to(kept.mkdir('xla'))
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('ALPHAJAX_CACHE', str(shared))
    cache.use_disk_cache()
    yield
