"""report.html in a real browser: what it shows, what it loads, and whether it can be read."""

import csv
import itertools
import re

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.wait import WebDriverWait

from meanet_jax.evaluation.intervals import exact_interval
from meanet_jax.evaluation.records_file import load_records
from meanet_jax.files import read_json
from meanet_jax.report.figure_text import label
from meanet_jax.report.figures import LONGEST_NAME
from meanet_jax.report.page.embedded import DIGITS, FIELDS
from meanet_jax.report.page.page import report_page
from meanet_jax.routing.hard_classes import confusion_matrix
from tests.evaluation.invented import NAMES, invented
from tests.report.chromium import (
  assert_fits,
  assert_stands_out,
  assert_theme,
  choose_system,
  emulate,
  markers,
  move_slider,
  needs_browser,
  shown,
  visit,
)


def assert_shows(fields: dict[str, dict[str, str]], row: dict[str, str]) -> None:
  assert set(fields) == {column for column, *_ in FIELDS}
  for column, _, form, _ in FIELDS:
    text = fields[column]["text"]
    if row[column] == "nan":  # a threshold that this system does not have, which is hidden
      assert (fields[column]["value"], text) == ("null", "-")
      continue
    expected = float(row[column])
    assert float(fields[column]["value"]) == float(f"{expected:.{DIGITS}g}"), column
    digits = float(re.sub("[,KMB]", "", text))
    scale = {"K": 1e3, "M": 1e6, "B": 1e9}.get(text[-1], 1)
    if form == "percent":
      assert digits == pytest.approx(100 * expected, abs=0.00501)
    else:
      assert digits * scale == pytest.approx(expected, rel=5.01e-4)


@needs_browser
def test_the_slider_shows_the_rows_of_operating_points(evaluated_run, browser):
  emulate(browser)
  visit(browser, evaluated_run / "eval" / "report.html")
  with (evaluated_run / "eval" / "operating_points.csv").open() as file:
    rows = list(csv.DictReader(file))
  systems = sorted({row["system"] for row in rows})
  offered = browser.execute_script(
    "return [...document.getElementById('system').options].map(o => o.value)"
  )
  assert offered[0] == "meanet"
  assert sorted(offered) == systems
  assert len(systems) >= 2
  for system in systems:
    points = [row for row in rows if row["system"] == system]
    (chosen,) = [place for place, row in enumerate(points) if row["chosen"] == "1"]
    choose_system(browser, system)
    assert_shows(shown(browser), points[chosen])
    assert "selected on validation" in browser.execute_script(
      "return document.getElementById('place').innerText"
    )
    last = len(points) - 1
    for place in (0, 1, 97, last // 3, last // 2, last - 1, last):
      move_slider(browser, place)
      assert_shows(shown(browser), points[place])
      accuracy = 100 * float(points[place]["accuracy"])
      np.testing.assert_allclose(
        markers(browser),
        [
          [100 * float(points[place]["fraction_cloud"]), accuracy],
          [float(points[place]["energy_mj"]), accuracy],
        ],
        rtol=1e-9,
      )
    browser.find_element("id", "chosen").click()
    assert_shows(shown(browser), points[chosen])
  assert browser.get_log("browser") == []


@needs_browser
def test_the_slider_moves_by_key(evaluated_run, browser):
  emulate(browser)
  visit(browser, evaluated_run / "eval" / "report.html")
  before = browser.execute_script("return Number(document.getElementById('point').value)")
  browser.find_element("id", "point").send_keys("\ue014")  # arrow right
  assert browser.execute_script("return Number(document.getElementById('point').value)") == (
    before + 1
  )
  with (evaluated_run / "eval" / "operating_points.csv").open() as file:
    points = [row for row in csv.DictReader(file) if row["system"] == "meanet"]
  assert_shows(shown(browser), points[before + 1])


@needs_browser
def test_a_cell_of_the_confusion_matrix_is_read_by_pointing_at_it(evaluated_run, browser):
  emulate(browser)
  visit(browser, evaluated_run / "eval" / "report.html")
  records = load_records(evaluated_run / "eval" / "records.npz", None).records()
  confusion = confusion_matrix(records.label, records.main.prediction, 10)
  plot = browser.find_element("css selector", "#confusion .nsewdrag")
  side = plot.rect["width"]
  for row, column in (*zip(*np.nonzero(confusion)), *np.argwhere(confusion == 0)[:2]):
    x, y = (int((place + 0.5 - 5) / 10 * side) for place in (column, row))
    ActionChains(browser, duration=0).move_to_element_with_offset(plot, x, y).perform()
    share = 100 * confusion[row, column] / confusion[row].sum()
    expected = (
      f"true {row}, predicted {column}: {confusion[row, column]} images, {share:.2f} % of the class"
    )
    WebDriverWait(browser, 10, poll_frequency=0.02).until(
      lambda b, e=expected: b.find_element("id", "cell").text == e, expected
    )


@needs_browser
def test_a_cell_of_either_matrix_is_read_by_key(evaluated_run, browser):
  emulate(browser)
  visit(browser, evaluated_run / "eval" / "report.html")
  records = load_records(evaluated_run / "eval" / "records.npz", None).records()
  confusion = confusion_matrix(records.label, records.main.prediction, 10)
  browser.find_element("id", "confusion").send_keys("\ue014\ue015")  # right, down
  told = browser.find_element("id", "cell").text
  assert told.startswith(f"true 1, predicted 1: {confusion[1, 1]} images")
  entry = read_json(evaluated_run / "eval" / "summary.json")["systems"]["meanet"]
  browser.find_element("id", "confusion_system").send_keys("\ue014\ue015")
  told = browser.find_element("id", "cell").text
  assert told.endswith(f" {100 * entry['per_class']['recall'][1]:.2f} % of the class")


@needs_browser
@pytest.mark.parametrize("width", [390, 1200])
def test_the_plots_open_where_things_happen_and_symbols_hide_none(evaluated_run, browser, width):
  emulate(browser, width=width)
  visit(browser, evaluated_run / "eval" / "report.html")
  systems = read_json(evaluated_run / "eval" / "summary.json")["systems"]
  few = [name for name, entry in systems.items() if entry["fraction"]["cloud"] <= 0.25]
  for button, inside in (("near", few), ("far", list(systems))):
    browser.find_element("id", button).click()
    assert browser.find_element("id", button).get_attribute("aria-pressed") == "true"
    for plot in ("offload", "energy"):
      found = browser.execute_script(SYMBOLS, plot)
      assert {name for name, *_, is_inside in found if is_inside} == {*inside, "slider"}
      assert all(symbol.endswith("-open") for name, symbol, *_ in found if name != "slider")
      for (_, _, size, x, y, _), (_, _, other, x2, y2, _) in itertools.combinations(found, 2):
        assert size != other or np.hypot(x - x2, y - y2) > 5
  assert "cloud_only (100.00 % sent" not in browser.find_element("id", "outside").text
  browser.find_element("id", "near").click()
  assert "cloud_only (100.00 % sent" in browser.find_element("id", "outside").text
  assert browser.get_log("browser") == []


# Of each system in a plot: name, symbol, size, place in pixels, whether it is in the range shown.
SYMBOLS = """
  const plot = document.getElementById(arguments[0]);
  const {xaxis, yaxis} = plot._fullLayout;
  const within = (value, [low, high]) => low <= value && value <= high;
  return plot.data.filter(t => t.mode === "markers").map(t => [
    t.name, t.marker.symbol, t.marker.size, xaxis.l2p(t.x[0]), yaxis.l2p(t.y[0]),
    within(t.x[0], xaxis.range) && within(t.y[0], yaxis.range)]);
"""


@needs_browser
def test_a_system_of_one_point_has_its_interval(evaluated_run, browser):
  emulate(browser)
  visit(browser, evaluated_run / "eval" / "report.html")
  summary = read_json(evaluated_run / "eval" / "summary.json")
  entry, count = summary["systems"]["main_only"], summary["num_examples"]
  low, high = exact_interval(round(entry["accuracy"] * count), count)
  found = browser.execute_script(
    "return document.getElementById('offload').data.filter(t => t.name === 'main_only' &&"
    " t.mode === 'markers').map(t => [t.y[0], t.error_y.arrayminus[0], t.error_y.array[0]])"
  )
  ((right, below, above),) = found
  np.testing.assert_allclose([right - below, right + above], [100 * low, 100 * high], atol=1e-6)


@needs_browser
def test_what_can_be_used_or_looked_at_has_a_name_and_is_reached_by_key(evaluated_run, browser):
  emulate(browser)
  visit(browser, evaluated_run / "eval" / "report.html")
  browser.execute_script("for (const e of document.querySelectorAll('details')) e.open = true")
  named = "select, input, button, summary, [tabindex='0'], [role=img]"
  found = browser.find_elements("css selector", named)
  assert len(found) > 10
  nameless = [one.get_attribute("outerHTML")[:80] for one in found if not one.accessible_name]
  assert not nameless, "\n".join(nameless)
  controls = {"near", "far", "system", "chosen", "point", "confusion", "confusion_system"}
  browser.find_element("tag name", "body").click()
  reached = set()
  for _ in range(60):
    browser.switch_to.active_element.send_keys("\ue004")  # tab
    reached.add(browser.switch_to.active_element.get_attribute("id"))
  assert controls <= reached


@needs_browser
def test_nothing_is_loaded_and_the_console_is_silent(evaluated_run, browser):
  emulate(browser)
  visit(browser, evaluated_run / "eval" / "report.html")
  assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
  # The page forbids itself the network, so that nothing in it can change this later.
  refused = browser.execute_async_script(
    "const done = arguments[0]; document.addEventListener('securitypolicyviolation',"
    "e => done(e.effectiveDirective)); fetch('http://127.0.0.1:9/').catch(() => {});"
  )
  assert refused == "connect-src"
  log = browser.get_log("browser")  # of the refused fetch alone
  assert all("127.0.0.1:9" in entry["message"] for entry in log)


@needs_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_it_fits_the_window_and_its_text_stands_out(evaluated_run, browser, theme, width):
  emulate(browser, theme, width)
  visit(browser, evaluated_run / "eval" / "report.html")
  assert_fits(browser, width)
  assert_readable(browser, theme)
  assert browser.get_log("browser") == []


@needs_browser
def test_the_plots_follow_a_change_of_theme(evaluated_run, browser):
  emulate(browser, "light")
  visit(browser, evaluated_run / "eval" / "report.html")
  for theme in ("dark", "light"):
    emulate(browser, theme)
    WebDriverWait(browser, 10).until(
      lambda b: (
        b.execute_script("return document.getElementById('energy').layout.font.color")
        == b.execute_script(
          "return getComputedStyle(document.documentElement).getPropertyValue('--text').trim()"
        )
      )
    )
    assert_readable(browser, theme)


@needs_browser
def test_strange_names_are_shown_as_they_are(browser, tmp_path):
  emulate(browser, width=390)
  path = tmp_path / "report.html"
  path.write_text(report_page(invented(np.random.default_rng(0))), encoding="utf-8")
  visit(browser, path)
  captions = browser.execute_script(
    "return [...document.querySelectorAll('figcaption b')].map(e => e.textContent)"
  )
  assert set(captions) <= set(NAMES)
  ticks = browser.execute_script(
    "return [...document.querySelectorAll('#confusion .ytick text')].map(e => e.textContent)"
  )
  assert sorted(ticks) == sorted(label(name, LONGEST_NAME) for name in NAMES)
  assert shown(browser)["hard_accuracy"] == {"value": "null", "text": "-"}
  assert shown(browser)["accuracy"] == {"value": "0.25", "text": "25.00"}
  assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
  assert browser.get_log("browser") == []


def assert_readable(browser: webdriver.Chrome, theme: str) -> None:
  for selector, kind in (("h4.right", "color"), ("h4.wrong", "color"), ("dt", "color")):
    assert_stands_out(browser, selector, kind)
  assert_theme(browser, theme)
