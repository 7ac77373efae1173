"""Debian's Chromium, and what a visitor of report.html does in it."""

import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.support.wait import WebDriverWait

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
  browser.get_log("browser")
  browser.get(path.as_uri())
  WebDriverWait(browser, 30).until(
    lambda b: b.execute_script("return document.querySelectorAll('.main-svg').length >= 3")
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
