"""A real Chromium before a real server."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlparse

import pytest
from playwright.sync_api import ConsoleMessage

from maskmtl.checkpoint import available_models
from maskmtl.paths import ROOT
from tests.browser.barriers import barriers

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
UNSEEN = "[...document.images].filter(image => image.complete && !image.naturalWidth).map(image => image.src)"
WAIT = 120  # s, on a busy machine


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def server(own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`streamlit run workbench/app.py` from another folder, as a user may start it; its address."""
    if not available_models():
        pytest.skip("there is no model in data/models")
    log = tmp_path_factory.mktemp("server") / "log.txt"
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "workbench" / "app.py"), "--server.port", str(port)]
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command, cwd=log.parent, env=os.environ, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(WAIT * 5):
            if process.poll() is not None:
                pytest.fail(f"the server ended with {process.returncode}: {log.read_text()[-2000:]}")
            try:
                with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2):
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        else:
            pytest.fail(f"the server should answer within {WAIT} s: {log.read_text()[-2000:]}")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="session")
def browser():
    executable = CHROMIUM if Path(CHROMIUM).is_file() else shutil.which("chromium")
    if executable is None:
        pytest.skip("there is no Chromium: apt-get install chromium fonts-dejavu-core")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure tells what stood on the page."""
    report = yield
    page = getattr(item, "funcargs", {}).get("page")
    if report.failed and call.when == "call" and hasattr(page, "inner_text"):
        with suppress(Exception):  # a browser that has died has said so
            report.sections.append(("The page", page.inner_text("body", timeout=5000)))
    return report


def of_replaced_picture(message: ConsoleMessage) -> bool:
    """Whether Streamlit had replaced a picture before the browser came to ask for it."""
    return "/media/" in message.location.get("url", "") or "Image source error" in message.text


@pytest.fixture
def errors() -> list[ConsoleMessage]:
    """In the console of `page`, but for two addresses that Streamlit asks for under a page before the right ones."""
    return []


@pytest.fixture
def page(browser, server, errors):
    """A page of 1280 px. Afterwards it must have asked nobody but the server, its console must show no error, and what
    stands there must be for all to read."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(WAIT * 1000)
    asked: list[str] = []
    broken: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and "_stcore/h" not in message.location.get("url", ""):
            errors.append(message)

    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.on("console", note)
    yield page
    unread = barriers(page) if page.url.startswith(server) else []
    unseen = page.evaluate(UNSEEN)
    context.close()
    hosts = {urlparse(url).netloc for url in asked if urlparse(url).scheme not in ("data", "blob")}
    assert hosts <= {urlparse(server).netloc}
    assert not broken and not [message.text for message in errors if not of_replaced_picture(message)]
    assert not unread and not unseen
