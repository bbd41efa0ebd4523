"""A person before a browser: one tab, what it complains about, and what can be measured of a page."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Locator, Page

from growi_transfer.demo.servers import Server

SECONDS = 40.0
PHONE = {"width": 375, "height": 812}
DESK = {"width": 1180, "height": 860}
_NPM = os.environ.get("GROWI_TRANSFER_TEST_NPM", "")
AXE = Path(_NPM, "node_modules", "axe-core", "axe.min.js") if _NPM else None
_GRAVE = ("serious", "critical")
_FINDINGS = """axe.run(document, {resultTypes: ["violations"]}).then(({violations}) => violations.map((one) => ({
  impact: one.impact, rule: one.id,
  nodes: one.nodes.slice(0, 5).map((node) => node.html + " " + node.failureSummary)})))"""
_LINE_IS_DOWN = re.compile(r"ERR_CONNECTION|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE|WebSocket connection to .* failed")
"""What a browser writes into its console by itself while a server is away."""


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for something that no event of the page tells."""
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return found


class Admin:
    """The admin of one server in a context (cookies, language, colours) of their own."""

    def __init__(self, browser: Browser, server: Server, shots: Path | None, **context: Any) -> None:
        self.server = server
        self.context: BrowserContext = browser.new_context(
            **{"viewport": DESK, "locale": "en-US", "timezone_id": "UTC", "reduced_motion": "reduce", **context}
        )
        self.context.set_default_timeout(SECONDS * 1000)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self._shots = shots
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not _LINE_IS_DOWN.search(message.text):
            self.complaints.append(f"{message.type}: {message.text} {message.location}")

    def forgive(self, status: str) -> None:
        """The browser has complained once, of an answer that the test wanted."""
        until(lambda: self.complaints, f"a complaint of {status}")
        assert len(self.complaints) == 1, self.complaints
        assert f"status of {status} " in self.complaints.pop()

    # ways

    def log_in(self, path: str = "/") -> None:
        self.page.goto(self.server.url + path)
        self.page.fill("#token", self.server.admin_token)
        self.page.click("button[type=submit]")
        self.page.wait_for_selector("#logout")

    def live(self) -> None:
        """The page has its state and hears of every change."""
        self.page.wait_for_selector(".line[data-state=live]")

    def reload(self) -> None:
        self.page.reload()
        self.live()

    def on(self, selector: str) -> Locator:
        return self.page.locator(selector)

    def text(self, selector: str = "main") -> str:
        """What is seen there."""
        return self.page.locator(selector).first.inner_text()

    def until(self, script: str) -> Any:
        """Wait until an expression is true in the page. (The page's policy forbids what Playwright has for it.)"""

        def ask() -> Any:
            try:
                return self.page.evaluate(script)
            except Error as error:
                if "context was destroyed" not in error.message:
                    raise
                return None  # between two pages

        return until(ask, script)

    def confirm(self, *, yes: bool = True) -> str:
        """Answer the question that is asked; the question."""
        dialog = self.page.locator("dialog[open]")
        asked = dialog.inner_text()
        if yes:
            dialog.locator("[value=yes]").click()
        else:
            self.page.keyboard.press("Escape")
        dialog.wait_for(state="detached")
        return asked

    # looks

    def shot(self, name: str) -> None:
        """A picture of the whole page, for people who name a folder in GROWI_TRANSFER_TEST_SHOTS."""
        if self._shots is not None:
            self.page.screenshot(path=self._shots / f"{name}.png", full_page=True)

    def look(self, name: str, *, colours: tuple[Literal["light", "dark"], ...] = ("light", "dark")) -> None:
        """No grave fault for those who need a screen reader or contrast, in these colours; a picture of each."""
        for scheme in colours:
            self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            self.shot(f"{name}-{scheme}")
            if AXE is not None:
                if not self.page.evaluate("'axe' in window"):
                    self.page.evaluate(AXE.read_text(encoding="utf-8"))
                found = [one for one in self.page.evaluate(_FINDINGS) if one["impact"] in _GRAVE]
                assert found == [], f"{name}, {scheme}: {json.dumps(found, indent=1)}"
        self.page.emulate_media(color_scheme="light", reduced_motion="reduce")

    def fits_a_phone(self, name: str) -> None:
        """Nothing has to be moved sideways at 375 pixels."""
        self.page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        wide = """[...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > 376
            && !one.closest(".scroll")).map((one) => one.outerHTML.slice(0, 120)).slice(0, 5)"""
        assert self.page.evaluate("document.documentElement.scrollWidth") <= 375, self.page.evaluate(wide)
        self.shot(f"{name}-phone")
        self.page.set_viewport_size(DESK)  # type: ignore[arg-type]

    def close(self) -> None:
        self.context.close()
        assert not self.complaints, self.complaints
