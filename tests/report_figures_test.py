"""What the report's figures show: cells, colours, parts, groups of factors."""

import re
from pathlib import Path

import numpy as np
import pytest

from alphajax.report import canvas, days, factors, page, training

MINUS = '\N{MINUS SIGN}'


def texts(svg):
  return re.findall(r'>([^<>]+)</text>', svg)


def test_monthly_means_count_known_days_of_each_month_and_year():
  dates = np.array(
    ['2019-12-30', '2020-01-02', '2020-01-03', '2020-01-06', '2020-03-02'],
    'datetime64[D]',
  )
  years, means = days.monthly_means(
    dates, np.array([0.3, 0.1, np.nan, 0.2, -0.6])
  )
  np.testing.assert_array_equal(years, [2019, 2020])
  expected = np.full((2, 13), np.nan)
  expected[0, [11, 12]] = 0.3
  expected[1, [0, 2, 12]] = 0.15, -0.6, -0.1  # The year: by day, not by month.
  np.testing.assert_allclose(means, expected, rtol=1e-12)


def test_every_month_is_a_cell_with_its_value_and_its_split():
  dates = np.array(['2020-01-02', '2020-02-03', '2020-03-02'], 'datetime64[D]')
  svg = days.monthly(
    {
      'train': (dates[:2], np.array([0.12, -0.24])),
      'valid': (dates[2:], np.array([0.061])),
    }
  )
  found = texts(svg)
  # 2020 is a row of both splits.
  assert found.count('2020') == 2
  assert {'train', 'valid', *days.MONTHS, 'year', 'mean IC'} <= set(found)
  # March alone makes the year of its split; the scale is that of the deepest.
  assert found.count('.06') == 2 and found.count('.12') == 1
  assert found.count(f'{MINUS}.24') == 2 and found.count('.24') == 1
  strengths = re.findall(
    r'fill: var\(--(positive|negative)\); opacity: ([\d.]+)', svg
  )
  assert ('negative', f'{canvas.STRONGEST:g}') in strengths
  assert ('positive', f'{canvas.STRONGEST / 2:g}') in strengths
  assert 'var(--train)' in svg and 'var(--valid)' in svg


def test_an_unknown_ic_makes_no_cell():
  dates = np.array(['2020-01-02', '2020-02-03'], 'datetime64[D]')
  svg = days.monthly({'train': (dates, np.array([np.nan, 0.5]))})
  assert texts(svg).count('.50') == 3  # February, the year, the scale.
  assert 'nan' not in svg


@pytest.mark.parametrize(
  'value, text',
  [
    (0.061, '.06'),
    (-0.128, f'{MINUS}.13'),
    (-0.004, '0'),
    (0.996, '1.00'),
    (-1.0, f'{MINUS}1.00'),
  ],
)
def test_short_numbers(value, text):
  assert canvas.short(value) == text


def luminance(rgb):
  rgb = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
  return rgb @ np.array([0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize('theme', [0, 1], ids=['light', 'dark'])
@pytest.mark.parametrize('sign', ['positive', 'negative'])
def test_the_ink_reads_on_the_strongest_cell(theme, sign):
  text = (Path(page.__file__).parent / 'style.html').read_text()
  colors = dict(
    re.findall(
      r'--(\w+): (#\w{6})', text.split('prefers-color-scheme', 1)[theme]
    )
  )
  cell, surface, ink = (
    np.array([int(colors[name][i : i + 2], 16) / 255 for i in (1, 3, 5)])
    for name in (sign, 'surface', 'ink')
  )
  cell = canvas.STRONGEST * cell + (1 - canvas.STRONGEST) * surface
  dark, light = sorted((luminance(cell), luminance(ink)))
  assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2.2, AA.


def test_parts_keep_their_order_and_colour_in_every_run():
  few = training.part_colors(['other', 'update', 'search'])
  assert list(few) == ['search', 'update', 'other']
  many = training.part_colors([*canvas.PARTS[::-1], 'other', 'zeta', 'fit'])
  assert list(many) == [*canvas.PARTS, 'fit', 'zeta', 'other']
  assert few.items() <= many.items()
  assert len(set(many.values())) == len(many)
  assert set(many.values()) <= set(canvas.COLORS)


def test_below_a_tick_stands_the_iteration_that_reached_it():
  evaluated = np.array([100.0, 250.0, 250.0, 400.0])
  write = training._two_rows(evaluated, np.arange(1.0, 5.0))
  assert [write(tick, 0) for tick in (0, 100, 200, 300, 400, 500)] == [
    '0\n',
    '100\n1',
    '200\n2',
    '300\n4',
    '400\n4',
    '500\n',
  ]


def test_one_iteration_has_one_tick():
  one = np.array([1.0])
  for svg in (
    training.curves([('valid', 'valid', '-', one, one)], 'x', 'y', 'one'),
    training.seconds(one, {'search': 50 * one}),
  ):
    below = [text for text in texts(svg) if text in ('960m', '0.8', '1', '1.2')]
    assert below.count('1') == 1 and len(below) == 1


def symmetric(count, pairs):
  out = np.eye(count)
  for (i, j), value in pairs.items():
    out[i, j] = out[j, i] = value
  return out


NAMES = ['F1', 'F2', 'F3', 'F4', 'F5']


def test_factors_alike_with_opposing_weights_are_named():
  correlation = symmetric(5, {(0, 2): 0.76, (0, 3): 0.93, (2, 3): 0.8})
  assert factors.twins(NAMES, [0.5, 1, -0.3, 0.2, 1], correlation) == [
    'F1, F3 and F4 say nearly the same (correlation .76 to .93) and their '
    'weights oppose each other: the pool trades their small difference.'
  ]


def test_a_negative_correlation_turns_a_weight():
  correlation = symmetric(5, {(1, 4): -0.9})
  start = 'F2 and F5 say nearly the same (|correlation| .90) and their weights '
  (agree,) = factors.twins(NAMES, [1, 1, 1, 1, -1], correlation)
  assert agree == (
    start + 'agree: together they count as little more than one factor.'
  )
  (oppose,) = factors.twins(NAMES, [1, 1, 1, 1, 1], correlation)
  assert oppose.startswith(start + 'oppose each other')


def test_groups_are_chains_of_links_above_the_bound():
  chain = {(i, i + 1): 0.8 for i in range(3)}
  (sentence,) = factors.twins(NAMES, np.ones(5), symmetric(5, chain))
  assert sentence.startswith(
    'F1, F2, F3 and F4 are chained by pairs that say nearly the same '
    '(correlation .80)'
  )
  assert factors.clusters(symmetric(4, {(0, 1): 0.7, (2, 3): 0.69})) == []
  two = symmetric(5, {(0, 4): 0.71, (1, 2): -0.99})
  assert factors.clusters(two) == [[0, 4], [1, 2]]
  unknown = symmetric(3, {(0, 1): np.nan, (0, 2): 0.9})
  assert factors.clusters(unknown) == [[0, 2]]


def test_a_long_chain_is_one_group():
  count = 40
  links = {(i, i + 1): 0.9 for i in range(count - 1)}
  assert factors.clusters(symmetric(count, links)) == [list(range(count))]
