"""The report in Chromium, where there is one: phone, errors, figures, paper."""

import html
import itertools
import json
import re
import shutil
import subprocess

import pytest
from made_run import judge_run, make_run, make_walk
from race_test import make_page

from alphajax.report import page

CHROMIUM = next(
  filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'chrome'))),
  shutil.which('google-chrome'),
)
pytestmark = pytest.mark.skipif(
  CHROMIUM is None, reason='no Chromium on this machine to open the page in'
)
# A frame's width is that of a phone, whatever Chromium allows for a window.
FRAME = """<iframe style="width: {width}px; height: 800px; border: 0"
 srcdoc="{page}"></iframe>"""
FRAMES = """<!doctype html><pre id="found"></pre>
{frames}
<script>
function read(frame) {{
  const root = frame.contentDocument, width = frame.clientWidth;
  const figures = [...root.querySelectorAll('figure')].map(figure => ({{
    title: figure.querySelector('h3').textContent,
    marks: figure.querySelectorAll(
      'svg [style*="var(--"]:not(text), svg use').length,
    tips: figure.querySelectorAll('svg title').length,
    texts: figure.querySelectorAll('svg text').length,
    width: figure.querySelector('svg').getBoundingClientRect().width,
    height: figure.querySelector('svg').getBoundingClientRect().height,
  }}));
  const wide = [...root.querySelectorAll('body *')].filter(
    each => each.getBoundingClientRect().right > width + 0.5);
  const cells = [...root.querySelectorAll('.bench td > span')];
  const broken = cells.filter(each => {{
    const figure = root.createRange();
    figure.selectNode(each.firstChild);
    return new Set([...figure.getClientRects()].map(x => x.top)).size > 1;
  }});
  return {{
    broken: broken.map(each => each.textContent),
    scroll: root.documentElement.scrollWidth, figures, width,
    wide: wide.map(each => each.tagName + ' ' + each.textContent.slice(0, 40)),
    cells: root.querySelector('tbody')
      && getComputedStyle(root.querySelector('tbody tr')).display,
  }};
}}
addEventListener('load', () => {{
  document.querySelector('#found').textContent = JSON.stringify(
    [...document.querySelectorAll('iframe')].map(read));
}});
</script>"""


def chromium(folder, *arguments):
  """Runs headless Chromium with a profile of its own."""
  done = subprocess.run(
    [
      CHROMIUM,
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--enable-logging=stderr',
      f'--user-data-dir={folder / "profile"}',
      *arguments,
    ],
    capture_output=True,
    text=True,
    timeout=120,
    check=True,
  )
  return done.stdout, re.findall(r'.*CONSOLE.*', done.stderr)


def opened(folder, *pages):
  """What `(text, width)` are like in frames of so many pixels; the console."""
  frames = [
    FRAME.format(width=width, page=html.escape(text)) for text, width in pages
  ]
  path = folder / 'frames.html'
  path.write_text(FRAMES.format(frames='\n'.join(frames)))
  out, console = chromium(folder, '--dump-dom', path.as_uri())
  found = re.search(r'<pre id="found">(.+?)</pre>', out, re.DOTALL)
  return json.loads(html.unescape(found[1])), console


@pytest.fixture(scope='module')
def report(tmp_path_factory):
  workdir = make_run(tmp_path_factory.mktemp('browser') / 'csi300')
  return page.write_report(workdir)


@pytest.fixture(scope='module')
def judged(tmp_path_factory):
  workdir = make_run(tmp_path_factory.mktemp('browser') / 'judged')
  judge_run(workdir)
  judge_run(workdir, 'later', seed=5, skill=0.0)
  return page.write_report(workdir)


@pytest.fixture(scope='module')
def walked(judged):
  workdir = judged.parent.parent / 'walk'
  return page.write_report(make_walk(workdir, judged.parent))


@pytest.fixture(scope='module')
def refereed(tmp_path_factory):
  path = tmp_path_factory.mktemp('browser') / 'referee.html'
  path.write_text(make_page())
  return path


# Page -> how many figures it has.
PAGES = {'report': 7, 'judged': 7 + 7 + 8, 'walked': 8, 'refereed': 2 * 5}


WIDTHS = (390, 1200)


@pytest.fixture(scope='module')
def every(report, judged, walked, refereed, tmp_path_factory):
  """`{(page, width): what it is like}` of one Chromium."""
  files = dict(zip(PAGES, (report, judged, walked, refereed), strict=True))
  cases = list(itertools.product(PAGES, WIDTHS))
  pages = [(files[name].read_text(), width) for name, width in cases]
  found, console = opened(tmp_path_factory.mktemp('frames'), *pages)
  assert console == []
  return dict(zip(cases, found, strict=True))


@pytest.mark.parametrize('width', WIDTHS)
@pytest.mark.parametrize('name', PAGES)
def test_the_page_fits_and_draws_every_figure(name, width, every):
  found = every[name, width]
  assert found['width'] == width
  assert found['scroll'] <= width and found['wide'] == []
  assert found['broken'] == []  # A figure of a table stands in one line.
  assert found['cells'] == ('block' if width == 390 else 'table-row')
  assert len(found['figures']) == PAGES[name]
  for figure in found['figures']:
    assert figure['marks'] > 4 and figure['texts'] > 4, figure
    low = 60 if figure['title'] == 'IC of each month' else 150
    assert figure['width'] > 300 and figure['height'] > low, figure
  tips = {x['title']: x['tips'] for x in found['figures']}
  told = set(tips) - {
    'Pool IC by formulas evaluated', 'Cumulative IC', 'IC of each factor',
    'Losses', 'Time by part',
  }  # fmt: skip
  assert told and all(tips[title] >= 5 for title in told), tips


def test_what_does_not_fit_or_fails_is_noticed(report, tmp_path):
  broken = report.read_text().replace(
    '<footer>',
    '<p style="width: 600px">wide</p><script>undefined_name()</script><footer>',
  )
  (found,), console = opened(tmp_path, (broken, 390))
  assert found['scroll'] > 390 and 'P wide' in found['wide']
  assert any('undefined_name' in line for line in console)


def test_is_dark_where_the_reader_is(report, tmp_path):
  seen = {}
  text = report.read_text().replace(
    '</main>',
    '</main><script>document.title = '
    'getComputedStyle(document.body).backgroundColor</script>',
  )
  (tmp_path / 'page.html').write_text(text)
  for scheme, setting in (('dark', 0), ('light', 1)):
    out, _ = chromium(
      tmp_path,
      f'--blink-settings=preferredColorScheme={setting}',
      '--dump-dom',
      (tmp_path / 'page.html').as_uri(),
    )
    seen[scheme] = re.search(r'<title>(.*?)</title>', out)[1]
  assert seen == {'dark': 'rgb(15, 19, 24)', 'light': 'rgb(244, 245, 247)'}


@pytest.mark.parametrize(
  'name, most', [('report', 3), ('judged', 7), ('walked', 3)]
)
def test_prints_on_few_pages(name, most, tmp_path, request):
  path = tmp_path / 'report.pdf'
  report = request.getfixturevalue(name)
  chromium(tmp_path, f'--print-to-pdf={path}', report.as_uri())
  pages = re.findall(rb'/Type\s*/Page\b', path.read_bytes())
  assert 1 <= len(pages) <= most
  box = re.search(rb'/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]', path.read_bytes())
  assert [round(float(side)) for side in box.groups()] == [595, 842]  # A4.
