"""Debian's Chromium, what a reader of a report does in it, and how its pages have to look."""

import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.support.wait import WebDriverWait

from tests.report.contrast import contrast, luminance

FLAGS = (
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
)
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
  not (CHROMIUM and DRIVER),
  reason="no chromium and chromedriver; `make browser` installs Debian's where it may",
)


def emulate(browser: webdriver.Chrome, theme: str = "light", width: int = 1200) -> None:
  browser.execute_cdp_cmd(
    "Emulation.setEmulatedMedia",
    {"features": [{"name": "prefers-color-scheme", "value": theme}]},
  )
  browser.execute_cdp_cmd(
    "Emulation.setDeviceMetricsOverride",
    {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": False},
  )


def visit(browser: webdriver.Chrome, path: Path) -> None:
  """Opens a page, and waits until its plots are drawn."""
  browser.get_log("browser")
  browser.get(path.as_uri())
  WebDriverWait(browser, 30).until(
    lambda b: b.execute_script(
      "const plots = [...document.querySelectorAll('.plot')];"
      "return plots.length > 0 && plots.every(e => e.querySelector('.main-svg'))"
    )
  )


def choose_system(browser: webdriver.Chrome, system: str) -> None:
  browser.execute_script(
    "const s = document.getElementById('system'); s.value = arguments[0];"
    "s.dispatchEvent(new Event('change'));",
    system,
  )


def move_slider(browser: webdriver.Chrome, place: int) -> None:
  browser.execute_script(
    "const s = document.getElementById('point'); s.value = arguments[0];"
    "s.dispatchEvent(new Event('input'));",
    place,
  )


def shown(browser: webdriver.Chrome) -> dict[str, dict[str, str]]:
  """Per field: its exact value and its text on the page."""
  return browser.execute_script(
    "return Object.fromEntries([...document.querySelectorAll('[data-field]')].map("
    "e => [e.dataset.field, {value: e.dataset.value, text: e.innerText}]))"
  )


def markers(browser: webdriver.Chrome) -> list[list[float]]:
  """Where the slider's mark stands in each trade-off plot, once it has moved."""
  return browser.execute_async_script(
    "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done("
    "['offload', 'energy'].map(id => { const t = document.getElementById(id).data.at(-1);"
    "return [t.x[0], t.y[0]]; }))))"
  )


def assert_fits(browser: webdriver.Chrome, width: int) -> None:
  """Nothing sticks out of the window, or out of its section but what scrolls in its box."""
  inner, scroll = browser.execute_script(
    "return [window.innerWidth, document.documentElement.scrollWidth]"
  )
  assert inner == width
  assert scroll <= width
  outside = browser.execute_script(
    "const wide = e => e.getBoundingClientRect().right > document.documentElement.clientWidth;"
    "const drawn = e => e.parentElement.closest('svg');"  # lines go on where a plot is cut off
    "return [...document.querySelectorAll('section *')].filter("
    "e => !e.closest('.scroll') && !drawn(e) && wide(e)).map(e => e.outerHTML.slice(0, 80))"
  )
  assert outside == []


def assert_stands_out(
  browser: webdriver.Chrome, selector: str, kind: str = "color", behind: str = "section"
) -> None:
  """WCAG's contrast of 4.5 between an element's text and what is behind it."""
  front, back = browser.execute_script(
    "const css = (s, p) => getComputedStyle(document.querySelector(s))[p];"
    "return [css(arguments[0], arguments[1]), css(arguments[2], 'backgroundColor')]",
    *(selector, kind, behind),
  )
  assert contrast(front, back) >= 4.5, (selector, front, back)


def assert_theme(browser: webdriver.Chrome, theme: str) -> None:
  """The theme's colours, in which the page's texts and a plot's, and 3 for lines, stand out."""
  for selector in ("body", "header p"):
    assert_stands_out(browser, selector, behind="body")
  for selector in ("section p", "td", "th"):
    assert_stands_out(browser, selector)
  for selector in ("#offload .xtick text", ".plot .legendtext"):
    assert_stands_out(browser, selector, "fill")
  card, lines = browser.execute_script(
    "const stroke = e => getComputedStyle(e).stroke;"
    "return [getComputedStyle(document.querySelector('section')).backgroundColor,"
    "[...document.querySelectorAll('#offload .js-line')].map(stroke)]"
  )
  assert len(lines) >= 2
  for line in lines:
    assert contrast(line, card) >= 3, line
  assert (luminance(card) < 0.1) == (theme == "dark")
