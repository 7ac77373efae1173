"""report.html in a real browser: what it shows, what it loads, and whether it can be read."""

import base64
import csv
import io
import itertools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from rich.console import Console
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.wait import WebDriverWait

from meanet_jax.console import Reporter
from meanet_jax.data.sources import Split
from meanet_jax.evaluation.examples import LARGEST_SIDE, data_uri, pick
from meanet_jax.evaluation.page import EXAMPLES_PER_KIND, FIELDS, Evaluation, report_page
from meanet_jax.evaluation.pipeline import evaluate
from meanet_jax.evaluation.records_file import load_records
from meanet_jax.evaluation.systems import Curve
from meanet_jax.routing.classes import confusion_matrix
from meanet_jax.routing.counts import Counts
from meanet_jax.routing.policies import CLOUD, EXTENSION, MAIN, Policy, Route, Thresholds
from meanet_jax.runs.directory import read_json
from tests.experiments import random_records

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


@pytest.fixture(scope="module")
def run_path(finished_run, tmp_path_factory) -> Path:
  workdir = tmp_path_factory.mktemp("page") / "run"
  shutil.copytree(finished_run.path, workdir)
  evaluate(workdir, Reporter(Console(file=io.StringIO())))
  return workdir


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[webdriver.Chrome]:
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


def assert_shows(fields: dict[str, dict[str, str]], row: dict[str, str]) -> None:
  assert set(fields) == {column for column, *_ in FIELDS}
  for column, _, form, _ in FIELDS:
    expected = float(row[column])
    assert float(fields[column]["value"]) == expected, column
    text = fields[column]["text"]
    if text == "":  # a threshold that this system does not use is hidden
      assert column in ("threshold_extension", "threshold_hard")
      continue
    digits = float(re.sub("[,KMB]", "", text))
    scale = {"K": 1e3, "M": 1e6, "B": 1e9}.get(text[-1], 1)
    if form == "percent":
      assert digits == pytest.approx(100 * expected, abs=0.00501)
    else:
      assert digits * scale == pytest.approx(expected, rel=5.01e-4)


@needs_browser
def test_the_slider_shows_the_rows_of_operating_points(run_path, browser):
  emulate(browser)
  visit(browser, run_path / "eval" / "report.html")
  with (run_path / "eval" / "operating_points.csv").open() as file:
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
    assert "chosen on validation" in browser.execute_script(
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
        rtol=1e-12,
      )
    browser.find_element("id", "chosen").click()
    assert_shows(shown(browser), points[chosen])
  assert browser.get_log("browser") == []


@needs_browser
def test_the_slider_moves_by_key(run_path, browser):
  emulate(browser)
  visit(browser, run_path / "eval" / "report.html")
  before = browser.execute_script("return Number(document.getElementById('point').value)")
  browser.find_element("id", "point").send_keys("\ue014")  # arrow right
  assert browser.execute_script("return Number(document.getElementById('point').value)") == (
    before + 1
  )
  with (run_path / "eval" / "operating_points.csv").open() as file:
    points = [row for row in csv.DictReader(file) if row["system"] == "meanet"]
  assert_shows(shown(browser), points[before + 1])


@needs_browser
def test_a_cell_of_the_confusion_matrix_is_read_by_pointing_at_it(run_path, browser):
  emulate(browser)
  visit(browser, run_path / "eval" / "report.html")
  records = load_records(run_path / "eval" / "records.npz", None).records
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
def test_nothing_is_loaded_and_the_console_is_silent(run_path, browser):
  emulate(browser)
  visit(browser, run_path / "eval" / "report.html")
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
def test_it_fits_the_window_and_its_text_stands_out(run_path, browser, theme, width):
  emulate(browser, theme, width)
  visit(browser, run_path / "eval" / "report.html")
  inner, scroll = browser.execute_script(
    "return [window.innerWidth, document.documentElement.scrollWidth]"
  )
  assert inner == width
  assert scroll <= width
  # Beside the page's own width: nothing sticks out of its section but what scrolls in its box.
  outside = browser.execute_script(
    "const wide = e => e.getBoundingClientRect().right > document.documentElement.clientWidth;"
    "return [...document.querySelectorAll('section *')].filter("
    "e => !e.closest('.scroll') && wide(e)).map(e => e.outerHTML.slice(0, 80))"
  )
  assert outside == []
  assert_readable(browser, theme)
  assert browser.get_log("browser") == []


@needs_browser
def test_the_plots_follow_a_change_of_theme(run_path, browser):
  emulate(browser, "light")
  visit(browser, run_path / "eval" / "report.html")
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


def assert_readable(browser: webdriver.Chrome, theme: str) -> None:
  """WCAG's 4.5 for text of the page, its sections and its plots; 3 for the lines of the plots."""
  texts, card, lines = browser.execute_script("""
    const css = (s, p) => getComputedStyle(document.querySelector(s))[p];
    const card = css("section", "backgroundColor");
    const texts = [
      [css("body", "color"), css("body", "backgroundColor")],
      [css("header p", "color"), css("body", "backgroundColor")],
      [css("section p", "color"), card], [css("td", "color"), card], [css("th", "color"), card],
      [css("dt", "color"), card], [css("h4.right", "color"), card],
      [css("h4.wrong", "color"), card],
      [css("#offload .xtick text", "fill"), card], [css("#energy .legendtext", "fill"), card],
    ];
    const lines = [...document.querySelectorAll("#offload .js-line")];
    return [texts, card, lines.map(e => getComputedStyle(e).stroke)];
  """)
  for front, back in texts:
    assert contrast(front, back) >= 4.5, (front, back)
  assert len(lines) >= 2
  for line in lines:
    assert contrast(line, card) >= 3, line
  assert (luminance(card) < 0.1) == (theme == "dark")


def contrast(first: str, second: str) -> float:
  """WCAG 2's contrast ratio of two CSS colours."""
  dark, light = sorted((luminance(first), luminance(second)))
  return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
  values = np.array([float(v) for v in re.findall(r"[\d.]+", colour)])
  assert len(values) == 3, f"{colour} is not opaque"
  s = values / 255
  linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
  return float(linear @ [0.2126, 0.7152, 0.0722])


NAMES = ("</script><script>boom()</script>", "<b>&amp;", '"quoted"', "naïve ☃", "$title", "%{x}")


def invented(rng: np.random.Generator) -> Evaluation:
  """Colour images larger than shown, names like attacks, no wrong image, an absent figure."""
  hard = np.array([1, 3], np.int32)
  records = random_records(rng, 40, 6, hard)
  right = records.main._replace(prediction=records.label)
  records = records._replace(main=right)
  images = rng.integers(0, 256, (40, 200, 150, 3)).astype(np.uint8)
  one = np.zeros(1, np.float32)
  columns = [column for column, *_ in FIELDS]
  points = ["system,chosen," + ",".join(columns)]
  for system, count in itertools.product(("main_cloud", "meanet"), range(3)):
    values = ["nan" if c == "hard_accuracy" else str(0.25 * count) for c in columns]
    points.append(f"{system},{int(count == 1)}," + ",".join(values))
  entry = dict.fromkeys(columns, 0.25) | {
    "hard_accuracy": None,
    "macs_cloud": 0.0,
    "fraction": dict.fromkeys(("main", "extension", "cloud"), 0.25),
    "thresholds": {"main": 0.25, "extension": None, "hard": None},
  }
  return Evaluation(
    summary={
      "dataset": "<i>invented",
      "split": "test",
      "num_examples": 40,
      "num_classes": 6,
      "systems": {"main_cloud": entry, "meanet": entry | {"wish_unmet": "<u>out of reach"}},
    },
    operating_points="\n".join(points) + "\n",
    class_names=NAMES,
    hard_classes={"classes": [1, 3], "precision": [0.5, None, 0.5, 0.5, 0.5, 0.5]},
    confusion=confusion_matrix(records.label, records.main.prediction, 6),
    meanet=Curve(
      Policy(hard_rule="never", offload_rule="never"),
      Thresholds(one, one, one),
      Counts(*(np.zeros(1, np.int32),) * 6),
      0,
    ),
    is_hard=np.isin(np.arange(6), hard),
    records=records,
    test=Split(images, records.label),
    config={"a": {"b": [1, 2]}, "c": "</td><script>boom()</script>"},
    environment={"python": "3", "packages": {"<x>": "1"}},
  )


def test_names_cannot_break_the_page():
  evaluation = invented(np.random.default_rng(0))
  page = report_page(evaluation)
  assert "<script>boom" not in page
  assert page.count("</script>") == 3
  assert "<i>invented" not in page
  assert "&lt;i&gt;invented" in page
  assert "<p>meanet: &lt;u&gt;out of reach</p>" in page
  assert page.count('class="right">right: 40</h4>') == 1
  assert page.count('class="right">right: none</h4>') == 2
  assert page.count('class="wrong">wrong: none</h4>') == 3
  assert page.count("<figure>") == EXAMPLES_PER_KIND


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
  assert sorted(ticks) == sorted(NAMES)
  assert shown(browser)["hard_accuracy"] == {"value": "null", "text": "-"}
  assert shown(browser)["accuracy"] == {"value": "0.25", "text": "25.00"}
  assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
  assert browser.get_log("browser") == []


def test_examples_are_of_their_kind_and_spread_over_the_split():
  rng = np.random.default_rng(1)
  labels = rng.integers(3, size=300).astype(np.int32)
  taken = Route(
    exit=rng.integers(3, size=300).astype(np.int32),
    prediction=rng.integers(3, size=300).astype(np.int32),
    ran_extension=np.zeros(300, bool),
  )
  groups = pick(taken, labels, 5)
  assert [(g.kind, g.right) for g in groups] == list(
    itertools.product(("easy", "hard", "complex"), (True, False))
  )
  assert sum(group.total for group in groups) == 300
  for group in groups:
    exit = {"easy": MAIN, "hard": EXTENSION, "complex": CLOUD}[group.kind]
    assert (taken.exit[group.shown] == exit).all()
    assert ((group.predictions == group.labels) == group.right).all()
    np.testing.assert_array_equal(labels[group.shown], group.labels)
    np.testing.assert_array_equal(taken.prediction[group.shown], group.predictions)
    assert len(set(group.shown)) == min(5, group.total) == 5
    assert group.shown[0] < 60
    assert group.shown[-1] > 240


@pytest.mark.parametrize(("shape", "mode"), [((8, 8, 1), "L"), ((300, 200, 3), "RGB")])
def test_an_image_survives_its_data_uri_and_large_ones_shrink(shape, mode):
  image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
  kind, text = data_uri(image).split(",")
  assert kind == "data:image/png;base64"
  with PIL.Image.open(io.BytesIO(base64.b64decode(text))) as picture:
    assert picture.mode == mode
    assert max(picture.size) == min(LARGEST_SIDE, max(shape))
    if max(shape) <= LARGEST_SIDE:
      np.testing.assert_array_equal(np.asarray(picture), image[..., 0])


def test_the_page_has_the_configuration_and_versions(run_path):
  page = (run_path / "eval" / "report.html").read_text(encoding="utf-8")
  environment = read_json(run_path / "environment.json")
  for package, version in environment["packages"].items():
    assert f"<td>packages.{package}</td><td>{version}</td>" in page
  config = read_json(run_path / "config.json")
  epochs = config["stages"]["edge"]["epochs"]
  assert f"<td>stages.edge.epochs</td><td>{epochs}</td>" in page
  assert f"<td>dataset.name</td><td>{config['dataset']['name']}</td>" in page
