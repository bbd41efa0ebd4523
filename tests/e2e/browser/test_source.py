"""The source's admin, from a pasted key to the rollback, with a real destination and its admin at the other end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.browser.conftest import World, send

if TYPE_CHECKING:
    from tests.e2e.browser.admin import Admin

BYTES = "document.querySelector('[aria-labelledby=meter-bytes]').value"


def state(admin: Admin, name: str) -> None:
    """Wait until the transfer of the page is in a state, and its buttons are those of it."""
    admin.page.wait_for_selector(f"#now .badge[data-state={name}]")


def press(admin: Admin, verb: str) -> None:
    admin.page.click(f"#now [data-verb={verb}]")


def options_of(world: World, transfer: str) -> dict[str, Any]:
    options: dict[str, Any] = send(world.source, "GET", f"/transfers/{transfer}/details")["options"]
    return options


def check_key(admin: Admin, key: str) -> None:
    """Paste a key and have it checked."""
    admin.page.fill("#key", key)
    admin.page.click("#check")
    admin.page.wait_for_selector("#report")


@pytest.mark.timeout(300)
def test_from_a_pasted_key_to_the_rollback(world: World, admin_of: Callable[..., Admin]) -> None:
    there = admin_of(world.destination)
    there.log_in()
    there.page.click("#issue")
    there.page.wait_for_selector("#new-key")
    key = there.page.input_value("#new-key")

    admin = admin_of(world.source)
    page = admin.page
    admin.log_in()
    page.wait_for_selector("#key-form")
    admin.look("source-empty")
    admin.fits_a_phone("source-empty")

    # A key that was cut on the way is told before anything is asked.
    page.fill("#key", key[:-30])
    page.click("#check")
    page.wait_for_selector("#key-problem:visible")
    check_key(admin, f" {key}\n")
    assert world.destination.url in admin.text("#report")
    admin.look("source-report")
    admin.fits_a_phone("source-report")

    # Nothing starts before every warning is agreed to, one by one.
    boxes = page.locator("#report [data-accept]")
    assert boxes.count() > 0
    for number in range(boxes.count()):
        assert page.locator("#start").is_disabled()
        boxes.nth(number).check()
    page.wait_for_selector("#start:enabled")
    page.fill("#bandwidth", "0.25")
    page.check("#end [value=stop]")
    # Somebody removes a file that the plan has.
    lost = next(path for path in sorted((world.pair.source.uploads / "attachment").iterdir()) if path.is_file())
    content = lost.read_bytes()
    lost.unlink()
    page.click("#start")

    # Live: it moves by itself; the slider works while it runs, and a reload shows what is.
    state(admin, "copying")
    admin.live()
    transfer = page.url.rpartition("/")[2]
    admin.until(f"{BYTES} > 0")
    admin.shot("transfer-copying")
    page.wait_for_selector("#tuning:visible")
    page.uncheck("#lane-volumes-auto")
    page.fill("#lane-volumes", "2")
    admin.until("document.querySelector('[data-in-force=volumes]').textContent.includes('2')")
    assert options_of(world, transfer)["parallelism"]["volumes"] == 2
    admin.reload()
    state(admin, "copying")
    admin.until("document.querySelector('#lane-volumes')?.value == '2'")
    press(admin, "pause")
    state(admin, "paused")
    page.wait_for_selector("#now [data-verb=resume]")
    admin.look("transfer-paused")
    admin.fits_a_phone("transfer-paused")
    press(admin, "resume")
    state(admin, "copying")

    # In the middle of it the server is started again: it goes on, and so does the page.
    with world.away(world.source):
        page.wait_for_selector(".line.waiting")
    admin.live()
    state(admin, "copying")
    # There is no hurry limit any more. What cannot be sent is told with its reason.
    page.wait_for_selector("#tuning:visible")
    page.fill("#bandwidth", "")
    state(admin, "failed")
    page.wait_for_selector("#failures li")
    assert lost.name in admin.text("#failures")
    assert options_of(world, transfer)["bandwidth_bytes_per_second"] is None
    admin.look("transfer-failed")
    lost.write_bytes(content)
    page.wait_for_selector("#now [data-verb=retry]")
    press(admin, "retry")
    state(admin, "ready")

    # The commit is asked for, and seen by both.
    press(admin, "commit")
    assert "Commit" in admin.confirm()
    state(admin, "completed")
    there.page.wait_for_selector("#incoming article:first-child .badge[data-state=completed]")
    page.wait_for_selector("#now [data-verb=rollback]")
    admin.look("transfer-completed")
    press(admin, "receipt")
    page.wait_for_selector("#download-receipt")
    assert "source" in admin.text("dialog [data-fact=signed]")
    page.keyboard.press("Escape")
    press(admin, "rollback")
    admin.confirm()
    state(admin, "rolled_back")
    there.page.wait_for_selector("#incoming article:first-child .badge[data-state=rolled_back]")

    # It stands in the history.
    page.click(".nav a[href='/source']")
    page.wait_for_selector(f"main a[href='/transfers/{transfer}']")
    admin.look("source-history", colours=("dark",))


@pytest.mark.timeout(300)
def test_in_japanese_from_the_key_to_a_cancelled_transfer(world: World, admin_of: Callable[..., Admin]) -> None:
    admin = admin_of(world.source, locale="ja-JP", timezone_id="Asia/Tokyo", color_scheme="dark")
    page = admin.page
    admin.log_in("/source")
    assert page.evaluate("document.documentElement.lang") == "ja"
    check_key(admin, world.issue())
    admin.fits_a_phone("source-report-ja")
    admin.shot("source-report-ja")
    for box in page.locator("#report [data-accept]").all():
        box.check()
    page.fill("#bandwidth", "0.25")
    page.click("#start")
    state(admin, "copying")
    admin.until(f"{BYTES} > 0")
    press(admin, "pause")
    state(admin, "paused")
    admin.fits_a_phone("transfer-ja")
    admin.look("transfer-ja", colours=("dark",))
    press(admin, "cancel")
    admin.confirm()
    state(admin, "cancelled")
    admin.until("!document.querySelector('#now [data-verb=resume]')")
    assert "中止" in admin.text("#now")
