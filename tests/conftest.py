"""What several test files share."""

import contextlib
import gc
import importlib
import shutil
from pathlib import Path

import jax
import pytest
from jax import monitoring

from alphajax.run import cache, contexts

contexts.share()

KEPT_BYTES = 1 << 30  # Of compiled programs; all tests need a tenth of it.
# That are kept from one file to the next, a megabyte of memory each with what
# was traced for it.
MOST_PROGRAMS = 6_000


# Files of few tests that take long come first: else one worker would wait for
# the other at the end.
LONG = """
  benchmark train walk_forward wide examples tree_lstm languages options refine
  configs halves sweep ensemble refit neutral planting library symbols hosts
  formula_values evaluate_store stream assess
""".split()
# Files of whole runs, of search, languages and networks, which compile far more
# than they compute, and of rules, figures and translations that a calculation
# of the test's own checks at tolerances: with `scripts/test.sh` quickly. What
# checks values of operators, rounding and bits is compiled as users have it; of
# these files, tests marked `compiled_fully`.
QUICK = """
  advice alphaformer alphaformer_networks alphaformer_paper alphagen alphaqcm
  archive assess assessment_page backup bars benchmark benchmark_peers causality
  checkpoint choice cli comparison compile configs contributing device edits
  ensemble environment evaluate evaluate_store evolution evolution_method
  examples experiment export factor_readme flows folder foresight formula
  formula_transformer genetic gflownet given gp grammar gumbel halves heads
  hosts invariance judgement languages lasso learning ledger library losses
  market_quality masks matrix mcts memory metrics moments neutral noise novelty
  objectives openings options orders panel path_diffusion path_models
  path_selection paths performance planted_tasks planting pool pool_rules
  portfolios ppo predictor_networks predictors predictors_peer presets
  pretrained pretraining_figures pretraining_markets priors progress provenance
  published_pools qcm quantiles readme recipe referee refine refit replay report
  report_browser report_figures report_judged results resume retrieval reuse
  rewards rollout rows sampling score screen scripts seeds selection sequence
  sheet signals simulate soundness space state stores stream styles surrogate
  sweep symbols synthesize synthetic teaching tensorboard threads token_policy
  trading trading_rules train transpositions tree tree_lstm tune typed universe
  walk_forward waves words writer
""".split()


def pytest_addoption(parser):
  parser.addoption(
    '--compiled', choices=('fully', 'quickly'), help='only files that are'
  )


def _name(path):
  return path.stem.removesuffix('_test')


def _ways(path):
  """How tests of a file are compiled."""
  if _name(path) not in QUICK:
    return {'fully'}
  is_marked = 'mark.compiled_fully' in path.read_text()
  return {'quickly', 'fully'} if is_marked else {'quickly'}


def _is_wanted(item):
  """Whether a test is compiled as `--compiled` says, if it says."""
  ways = _ways(item.path)
  if len(ways) > 1:
    is_marked = item.get_closest_marker('compiled_fully')
    ways = {'fully' if is_marked else 'quickly'}
  return item.config.getoption('--compiled') in {None, *ways}


def pytest_ignore_collect(collection_path, config):
  """Does not even read files that are not wanted, unless they are named."""
  if not collection_path.name.endswith('_test.py'):
    return None
  named = {Path(arg.partition('::')[0]).resolve() for arg in config.args}
  wanted = {config.getoption('--compiled')}
  if collection_path in named or wanted & {None, *_ways(collection_path)}:
    return None
  return True


def pytest_collection_modifyitems(config, items):
  """Long files first, the others in their order; some only, if asked."""
  others = [item for item in items if not _is_wanted(item)]
  if others:
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if _is_wanted(item)]
  items.sort(key=lambda item: _name(item.path) not in LONG)


def pytest_configure(config):
  """Empties what `disk_cache` keeps where it has grown, before it is read."""
  kept = getattr(config, 'cache', None)
  if kept is None or hasattr(config, 'workerinput'):
    return
  folder = kept.mkdir('xla')
  if sum(path.stat().st_size for path in folder.iterdir()) > KEPT_BYTES:
    shutil.rmtree(folder)


def pytest_collection_finish():
  """Freezes what is imported and collected."""
  importlib.import_module('frozen')


def pytest_sessionfinish():
  """Freezes what is left: pytest looks at it five times before it ends."""
  gc.freeze()


class _Compiled:
  """How many programs were made since they were forgotten."""

  count = 0

  def __call__(self, event: str, seconds: float, **_) -> None:
    self.count += event == '/jax/core/compile/backend_compile_duration'


_compiled = _Compiled()
monitoring.register_event_duration_secs_listener(_compiled)


@pytest.fixture(scope='module', autouse=True)
def few_programs():
  """Forgets programs after a file once there are many; files share some."""
  yield
  if _compiled.count > MOST_PROGRAMS:
    jax.clear_caches()
    _compiled.count = 0


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
