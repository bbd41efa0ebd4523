"""The destination's admin, from the first login to the rollback, with a real source at the other end."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.e2e.browser.conftest import World, send

if TYPE_CHECKING:
    from tests.e2e.browser.admin import Admin

CARD = "#incoming article"


def state(admin: Admin, name: str) -> None:
    """Wait until the newest transfer is shown in a state."""
    admin.page.wait_for_selector(f"{CARD}:first-child .badge[data-state={name}]")


def offered(admin: Admin) -> list[str]:
    return [str(one.get_attribute("data-verb")) for one in admin.on(f"{CARD}:first-child .actions button").all()]


def done(admin: Admin) -> float:
    return float(admin.page.evaluate(f"document.querySelector('{CARD} progress').value"))


@pytest.mark.timeout(300)
def test_from_the_first_login_to_the_rollback(world: World, admin_of: Callable[..., Admin], tmp_path: Path) -> None:
    server = world.destination
    admin = admin_of(server, permissions=["clipboard-read", "clipboard-write"], accept_downloads=True)
    page = admin.page

    # A first visit: a login, and a page that says what to do.
    page.goto(server.url)
    page.wait_for_selector("#token")
    admin.look("login")
    page.fill("#token", "a token that is not right")
    page.click("button[type=submit]")
    page.wait_for_selector("[role=alert][data-code=admin_required]")
    admin.forgive("403")
    page.fill("#token", server.admin_token)
    page.keyboard.press("Enter")
    admin.live()
    page.wait_for_selector("#summary [data-summary=server]")
    assert "Issue a key above and give it to the source's admin." in admin.text()
    assert "only this machine can reach" in admin.text("#problems")
    assert "The new server" in admin.text("#summary")
    admin.look("destination-empty")

    # A key: shown once, copied, with the time that it lasts.
    page.click("#issue")
    page.wait_for_selector("#new-key")
    assert page.evaluate("document.activeElement.id") == "copy-key"
    page.keyboard.press("Enter")
    page.wait_for_selector(".toast.good")
    key = str(page.evaluate("navigator.clipboard.readText()"))
    assert key == page.input_value("#new-key")
    assert key.endswith(server.url)
    assert re.search(r"Use it within (2\d|30) min", admin.text("#new-key-about"))
    admin.look("destination-key")
    admin.fits_a_phone("destination-key")
    admin.reload()
    assert key not in page.content()
    assert "Not used yet" in admin.text("#keys")

    # The transfer appears by itself, and moves.
    transfer = world.push(key)
    state(admin, "copying")
    page.wait_for_selector("#keys [data-key] a")
    begun = done(admin)
    admin.until(f"document.querySelector('{CARD} progress').value > {begun}")
    page.wait_for_selector(f"{CARD}:first-child [data-verb]")
    assert offered(admin) == ["cancel"]
    admin.shot("destination-copying")

    # The source pauses: time to look, for here nothing is wrong and nothing is lost.
    send(world.source, "POST", f"/transfers/{transfer}/pause")
    admin.until(f"document.querySelector('{CARD} p').textContent.includes('may be paused')")
    admin.look("destination-resting")
    admin.fits_a_phone("destination-resting")
    admin.reload()
    state(admin, "copying")

    # It goes on, and in the middle of it the server is started again.
    send(world.source, "POST", f"/transfers/{transfer}/resume")
    admin.until(f"document.querySelector('{CARD} [data-fact=speed] dd').textContent.match(/[1-9]/)")
    with world.away(server):
        page.wait_for_selector(".line.waiting")
    admin.live()
    state(admin, "copying")
    before = done(admin)
    world.hurry(transfer)
    state(admin, "ready")
    assert done(admin) > before

    # Nothing happens before yes.
    page.wait_for_selector("[data-verb=commit]")
    assert offered(admin) == ["commit", "receipt", "cancel"]
    assert "This wiki still shows its own data" in admin.text(CARD)
    assert "(100%)" in admin.text(f"{CARD} .meter")
    page.click("[data-verb=commit]")
    page.wait_for_selector("dialog[open]")
    admin.look("destination-commit", colours=("dark",))
    assert "former data are kept aside" in admin.confirm(yes=False)
    assert send(server, "GET", f"/transfers/{transfer}")["transfer"]["state"] == "ready"
    page.click("[data-verb=commit]")
    admin.confirm()
    state(admin, "completed")
    page.wait_for_selector("[data-verb=rollback]")
    page.wait_for_selector("#summary [data-fact=maintenance] .warn")
    assert offered(admin) == ["release-maintenance", "receipt", "rollback", "purge"]
    assert "Restart this wiki's GROWI" in admin.text(CARD)
    assert "Rollback possible until" in admin.text(CARD)
    assert "Demo wiki" in admin.text("#summary")
    admin.look("destination-completed")

    # The same transfer on a page of its own, in the list of all, and for somebody without a login, by a link.
    page.click(f"{CARD}:first-child h3 a")
    page.wait_for_selector("#now .badge[data-state=completed]")
    admin.look("transfer-received", colours=("light",))
    admin.fits_a_phone("transfer-received")
    page.click(".nav a[href='/transfers']")
    page.wait_for_selector(f"main a[href='/transfers/{transfer}']")
    admin.look("transfers")
    admin.fits_a_phone("transfers")
    link = send(server, "POST", f"/transfers/{transfer}/watch-links")
    guest = admin_of(server)
    guest.page.goto(server.url + link["path"])
    guest.page.wait_for_selector("#now .badge[data-state=completed]")
    assert guest.on("#now .actions button, [data-verb]").count() == 0
    guest.look("watch", colours=("dark",))
    guest.fits_a_phone("watch")
    page.click(".nav a[href='/destination']")
    state(admin, "completed")

    # The receipt: kept, checked, checked later from the file.
    page.click("[data-verb=receipt]")
    with page.expect_download() as download:
        page.click("#download-receipt")
    kept = tmp_path / "receipt.json"
    download.value.save_as(kept)
    receipt = json.loads(kept.read_text())
    assert (receipt["receipt"]["transfer"], receipt["receipt"]["state"]) == (transfer, "completed")
    page.click("#check-receipt")
    page.wait_for_selector("dialog [data-verdict=good]")
    admin.look("destination-receipt")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.set_input_files("#receipt-file", kept)
    page.click("#receipt-card button[type=submit]")
    page.wait_for_selector("#receipt-card [data-verdict=good]")
    kept.write_text(kept.read_text().replace('"documents": ', '"documents": 1', 1))
    page.set_input_files("#receipt-file", kept)
    page.click("#receipt-card button[type=submit]")
    page.wait_for_selector("#receipt-card .note.bad")
    admin.forgive("400")

    # Open the wiki, go back, and throw away what is kept.
    page.click("[data-verb=release-maintenance]")
    assert "open to its users" in admin.confirm()
    page.wait_for_selector("#summary [data-fact=maintenance] .good")
    admin.until("!document.querySelector('[data-verb=release-maintenance]')")
    page.click("[data-verb=rollback]")
    assert "is lost" in admin.confirm()
    state(admin, "rolled_back")
    admin.until("document.querySelector('#summary').textContent.includes('The new server')")
    page.click("[data-verb=purge]")
    assert "What this transfer brought" in admin.confirm()
    admin.until("!document.querySelector('[data-verb=purge]')")
    assert offered(admin) == ["receipt"]
    admin.look("destination-rolled-back", colours=("light",))


@pytest.mark.timeout(300)
def test_in_japanese_on_a_phone_with_a_second_transfer_that_is_cancelled(
    world: World, admin_of: Callable[..., Admin]
) -> None:
    admin = admin_of(world.destination, locale="ja-JP", timezone_id="Asia/Tokyo", color_scheme="dark")
    page = admin.page
    admin.log_in("/destination")
    admin.live()
    assert page.evaluate("document.documentElement.lang") == "ja"
    page.wait_for_selector("#summary [data-summary=server]")
    assert "転送キー" in admin.text("#keys-card")

    # A key that goes wrong is revoked, and said to be over.
    page.click("#issue")
    page.wait_for_selector("#new-key")
    page.locator("#keys [data-revoke]").first.click()
    assert "失効" in admin.confirm()
    page.wait_for_selector("#new-key", state="detached")
    page.click("#keys details summary")
    assert "失効済み" in admin.text("#keys details")

    transfer = world.push(world.issue())
    state(admin, "copying")
    admin.until(f"document.querySelector('{CARD} progress').value > 0")
    send(world.source, "POST", f"/transfers/{transfer}/pause")
    admin.until(f"document.querySelector('{CARD} p').textContent.includes('一時停止')")
    admin.fits_a_phone("destination-ja")
    admin.look("destination-ja")
    page.locator("[data-verb=cancel]").first.click()
    assert "破棄" in admin.confirm()
    state(admin, "cancelled")
    admin.until(f"!document.querySelector('{CARD}:first-child .actions button')")

    # The other language, chosen in the header, stays.
    page.select_option("select.switch >> nth=0", "en")
    admin.until("document.documentElement.lang == 'en'")
    admin.live()
    admin.reload()
    state(admin, "cancelled")
    assert "It was cancelled. This wiki stayed as it was." in admin.text("#incoming")
