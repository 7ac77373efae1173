"""A run that was evaluated, and the browser that its report is opened in."""

from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.report.chromium import CHROMIUM, DRIVER, FLAGS


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[webdriver.Chrome]:
  """A headless Chromium; for tests that `needs_browser` marks."""
  options = webdriver.ChromeOptions()
  options.binary_location = CHROMIUM
  for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
    options.add_argument(flag)
  options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
  with pytest.MonkeyPatch.context() as patch:
    # A proxy of the outside world cannot reach the driver on this machine.
    patch.setenv("NO_PROXY", "localhost,127.0.0.1")
    patch.setenv("no_proxy", "localhost,127.0.0.1")
    # A driver that is given by its path is not looked for, so nothing is downloaded.
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
      yield driver
    finally:
      driver.quit()
