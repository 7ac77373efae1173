"""comparison.html in a real browser: what it draws, loads and shows in every width and theme."""

import numpy as np
import pytest
from selenium.webdriver.support.wait import WebDriverWait

from meanet_jax.report.page.comparison import Comparison, comparison_page
from tests.evaluation.invented import invented
from tests.report.chromium import assert_fits, assert_theme, emulate, needs_browser, visit

ACCURACY = np.linspace(0.9, 0.99, 101)
REACHED = 41  # of the second system


@pytest.fixture(scope="module")
def page(tmp_path_factory):
  """Two runs with names and verdicts that are long and strange."""
  summary = invented(np.random.default_rng(0)).summary
  names = list(summary["systems"])
  runs = [f"runs/<b>{'long_' * 20}{number}" for number in range(2)]
  found = Comparison(
    summaries=dict.fromkeys(runs, summary),
    constraints=dict.fromkeys(runs, "max-offload 0.1"),
    titles=("accuracy [%]", "cloud [%]"),
    rows=[[name, "97.00 ± 0.10", "10.00 ± 1.00"] for name in names],
    unmet=["runs/0: meanet: <i>out of reach"],
    at_offload={
      "meanet": {"mean": ACCURACY.tolist(), "standard_deviation": [0.01] * 101},
      "paper": {
        "mean": [*(ACCURACY - 0.02)[:REACHED].tolist(), *[None] * (101 - REACHED)],
        "standard_deviation": [*[0.0] * REACHED, *[None] * (101 - REACHED)],
      },
    },
  )
  path = tmp_path_factory.mktemp("comparison") / "comparison.html"
  path.write_text(comparison_page(found), encoding="utf-8")
  return path


@needs_browser
def test_means_and_bands_are_drawn_in_either_range(page, browser):
  emulate(browser)
  visit(browser, page)
  traces = browser.execute_script(
    "return document.getElementById('offload').data.map(t => [t.name, [...t.x], [...t.y]])"
  )
  assert [name for name, *_ in traces] == ["band", "meanet", "band", "paper"]
  _, sent, mean = traces[1]
  np.testing.assert_allclose(sent, np.arange(101))
  np.testing.assert_allclose(mean, 100 * ACCURACY, rtol=1e-9)
  _, sent, mean = traces[3]
  np.testing.assert_allclose(sent, np.arange(REACHED))
  np.testing.assert_allclose(mean, 100 * (ACCURACY - 0.02)[:REACHED], rtol=1e-9)
  _, _, band = traces[0]
  np.testing.assert_allclose(band[:101], 100 * ACCURACY + 1, rtol=1e-9)
  np.testing.assert_allclose(band[:100:-1], 100 * ACCURACY - 1, rtol=1e-9)
  for button, last in (("far", 100), ("near", 25)):
    browser.find_element("id", button).send_keys("\ue007")  # the key Enter
    assert browser.find_element("id", button).get_attribute("aria-pressed") == "true"
    low, high = browser.execute_script(
      "return document.getElementById('offload').layout.xaxis.range"
    )
    assert low < 0
    assert last < high < 1.1 * last
  assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
  assert browser.get_log("browser") == []


@needs_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_a_comparison_fits_the_window_and_its_text_stands_out(page, browser, theme, width):
  emulate(browser, theme, width)
  visit(browser, page)
  assert_fits(browser, width)
  assert_theme(browser, theme)
  assert "<i>out of reach" in browser.find_element("css selector", ".warning").text
  other = {"light": "dark", "dark": "light"}[theme]
  emulate(browser, other, width)
  WebDriverWait(browser, 10).until(
    lambda b: b.execute_script(
      "return document.getElementById('offload').layout.font.color === "
      "getComputedStyle(document.documentElement).getPropertyValue('--text').trim()"
    )
  )
  assert_theme(browser, other)
  assert browser.get_log("browser") == []
