"""The report in a real browser: a headless Chromium, where there is one."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from report_cases import comparison_of, report_of

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver

from gradts_plugin.report.comparison_page import write_comparison_page
from gradts_plugin.report.record import InstanceExample
from gradts_plugin.report.run_page import write_run_page

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="chromium and chromedriver are not installed"
)

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
TASKS = ("rte", "qqp", "mrpc", "a-task-with-a-name-that-is-much-longer-than-others", "wnli", "stsb")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(120)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    info = report_of(TASKS, num_layers=4, num_heads=4)
    long = InstanceExample(3, 0.2, "word" * 60 + " <b>bold</b>")
    tasks = tuple(replace(task, kept=(long,)) for task in info.instances.tasks)
    info = replace(info, instances=replace(info.instances, tasks=tasks))
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_run_page(info, path)
    return path.as_uri()


def opened(browser, address, *, width=1200, scheme="light", media="", scripts=True):
    """Opens the report on a screen of a width, in a colour scheme, on screen or in print."""
    command = browser.execute_cdp_cmd
    command("Emulation.setScriptExecutionDisabled", {"value": not scripts})
    command(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    command("Emulation.setEmulatedMedia", {"media": media, "features": features})
    browser.get(address)
    # Scripts of the test itself run in any case, once the page has loaded.
    command("Emulation.setScriptExecutionDisabled", {"value": False})
    return browser


def style(browser, selector, name):
    return browser.execute_script(
        "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]",
        selector,
        name,
    )


def test_the_console_stays_empty(browser, address):
    opened(browser, address)
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("width", [360, 768, 1200])
def test_the_page_never_scrolls_sideways(browser, address, width):
    page = opened(browser, address, width=width)
    page.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


def test_dark_mode_is_applied_to_page_and_pictures(browser, address):
    shown = {}
    for scheme in ("light", "dark"):
        page = opened(browser, address, scheme=scheme)
        shown[scheme] = (
            style(page, "body", "backgroundColor"),
            style(page, "body", "color"),
            style(page, ".drawing text", "fill"),
        )
    assert shown["light"][0] == "rgb(255, 255, 255)"
    assert all(light != dark for light, dark in zip(shown["light"], shown["dark"], strict=True))


def test_two_maps_can_be_put_side_by_side(browser, address):
    page = opened(browser, address)
    captions = "return [...document.querySelectorAll('.pair figcaption')].map(c => c.textContent)"
    ranked_first = page.execute_script("return document.getElementById('right-task').value")
    assert page.execute_script(captions) == ["rte (primary)", ranked_first]
    page.find_element("css selector", "#right-task option:nth-child(5)").click()
    assert page.execute_script(captions) == ["rte (primary)", "wnli"]
    assert page.find_element("id", "pair-tau").text.startswith("tau ")
    left, right = page.find_elements("css selector", ".pair svg")
    assert left.location["y"] == right.location["y"]
    assert left.location["x"] + left.size["width"] <= right.location["x"]
    page.find_element("css selector", "#right-task option:nth-child(1)").click()
    assert page.execute_script(captions) == ["rte (primary)", "rte (primary)"]
    assert page.find_element("id", "pair-tau").text == ""


def visible_maps(page):
    # Selenium's own answer takes everything in closed <details> for hidden, also in print.
    maps = "[...document.querySelectorAll('.maps svg')]"
    return page.execute_script(f"return {maps}.filter(map => map.checkVisibility()).length")


def test_without_scripts_all_maps_are_shown(browser, address):
    page = opened(browser, address, scripts=False)
    assert visible_maps(page) == len(TASKS)
    assert not page.find_element("id", "side-by-side").is_displayed()


def test_print_shows_all_maps_on_white(browser, address):
    page = opened(browser, address, media="print", scheme="dark")
    assert style(page, "body", "backgroundColor") == "rgb(255, 255, 255)"
    assert visible_maps(page) == len(TASKS)


def test_print_shows_the_numbers_of_ranking_and_trials_and_the_settings(browser, address):
    page = opened(browser, address, media="print")
    captions = "[...document.querySelectorAll('details caption')].filter(c => c.checkVisibility())"
    shown = page.execute_script(f"return {captions}.map(c => c.textContent)")
    assert shown == [
        "Candidates for rte",
        "Dev score of rte in each trial",
        "What each method selects for rte",
        "Tasks of this run",
        "Settings of this run",
        "Versions and fingerprints",
    ]


def test_print_leaves_no_heading_alone_at_the_end_of_a_page(browser, address):
    page = opened(browser, address, media="print")
    for selector in ("section > h2", "section > p"):
        assert style(page, selector, "breakAfter") == "avoid"


def test_a_shadow_says_that_there_is_more_beside_a_wide_picture(browser, address):
    page = opened(browser, address, width=360)
    assert "linear-gradient" in style(page, ".scroll", "backgroundImage")


def serious_findings(page):
    """What axe finds on an opened page."""
    selenium = pytest.importorskip("axe_core_python.selenium", reason="axe-core is not installed")
    # Pictures are hidden from it: their elements describe them, and hundreds of cells are slow.
    found = selenium.Axe().run(page, {"exclude": [["svg"]]})["violations"]
    return [
        (violation["id"], violation["nodes"][0]["html"][:200])
        for violation in found
        if violation["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (1200, "dark"), (360, "light")])
def test_axe_finds_nothing_serious(browser, address, width, scheme):
    page = opened(browser, address, width=width, scheme=scheme)
    if (width, scheme) == (1200, "light"):  # the tables need looking at once only
        page.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    assert serious_findings(page) == []


def test_the_page_of_a_comparison_holds_in_a_browser(browser, tmp_path):
    write_comparison_page(comparison_of(("rte", "mrpc")), tmp_path / "report.html")
    for width, scheme in ((1200, "dark"), (360, "light")):
        page = opened(browser, (tmp_path / "report.html").as_uri(), width=width, scheme=scheme)
        assert page.get_log("browser") == []
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
        assert serious_findings(page) == []
