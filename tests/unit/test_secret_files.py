"""Secrets kept in the data folder: made once, readable by their owner alone, never half there."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from growi_transfer.protocol.errors import InvalidRequest, OperatorFault
from growi_transfer.secret_files import SecretFiles

TRANSFER = "0123456789abcdef" * 2


@pytest.fixture
def files(tmp_path: Path) -> SecretFiles:
    return SecretFiles(tmp_path / "data")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_secret_is_made_once_and_kept(files: SecretFiles) -> None:
    [first] = files.signing_secrets()
    [again] = SecretFiles(files.data_dir).signing_secrets()
    assert first.get_secret_value() == again.get_secret_value()
    assert len(first.get_secret_value()) >= 48
    assert first.get_secret_value() not in repr(files.signing_secrets())


def test_every_file_is_for_its_owner_alone_whatever_the_umask(files: SecretFiles) -> None:
    former = os.umask(0)
    try:
        files.signing_secrets()
        files.admin_token()
        files.keep_key(TRANSFER, "a-key")
    finally:
        os.umask(former)
    found = {path.relative_to(files.data_dir).as_posix(): path for path in files.data_dir.rglob("*") if path.is_file()}
    assert set(found) == {"secrets", "admin-token", f"keys/{TRANSFER}"}
    assert {mode(path) for path in found.values()} == {0o600}
    assert mode(files.data_dir) == 0o700
    assert mode(files.data_dir / "keys") == 0o700


def test_the_admin_token_is_new_only_once(files: SecretFiles) -> None:
    first, again = files.admin_token(), files.admin_token()
    assert first.created
    assert not again.created
    assert first.token.get_secret_value() == again.token.get_secret_value()
    assert first.token.get_secret_value() not in repr(first)


def test_two_instances_do_not_share_secrets(tmp_path: Path) -> None:
    one, other = SecretFiles(tmp_path / "a"), SecretFiles(tmp_path / "b")
    assert one.signing_secrets()[0].get_secret_value() != other.signing_secrets()[0].get_secret_value()
    assert one.admin_token().token.get_secret_value() != one.signing_secrets()[0].get_secret_value()


def test_a_second_line_is_the_newer_secret(files: SecretFiles) -> None:
    files.signing_secrets()
    with (files.data_dir / "secrets").open("a") as file:
        file.write("\n  the-newer-secret-of-two  \n\n")
    assert [secret.get_secret_value() for secret in files.signing_secrets()][-1] == "the-newer-secret-of-two"
    assert len(files.signing_secrets()) == 2


def test_a_file_that_others_can_read_is_refused(files: SecretFiles) -> None:
    files.signing_secrets()
    path = files.data_dir / "secrets"
    for wrong in (0o640, 0o604, 0o660):
        path.chmod(wrong)
        with pytest.raises(OperatorFault, match="chmod 600"):
            files.signing_secrets()
    path.chmod(0o400)
    assert files.signing_secrets()


def test_a_link_to_somewhere_else_is_refused(files: SecretFiles, tmp_path: Path) -> None:
    files.data_dir.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("planted-by-somebody-else")
    elsewhere.chmod(0o600)
    (files.data_dir / "secrets").symlink_to(elsewhere)
    with pytest.raises(OperatorFault):
        files.signing_secrets()


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe\x00"])
def test_an_empty_or_damaged_file_is_not_replaced_in_silence(files: SecretFiles, content: bytes) -> None:
    files.data_dir.mkdir()
    path = files.data_dir / "admin-token"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(OperatorFault, match="Remove it"):
        files.admin_token()
    assert path.read_bytes() == content


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(OperatorFault, match="GROWI_TRANSFER_DATA_DIR"):
        SecretFiles(blocker / "data").signing_secrets()


def test_processes_that_start_together_agree(files: SecretFiles) -> None:
    found: list[str] = []
    made: list[bool] = []
    start = threading.Barrier(8)

    def one() -> None:
        start.wait()
        found.append(SecretFiles(files.data_dir).signing_secrets()[0].get_secret_value())
        made.append(SecretFiles(files.data_dir).admin_token().created)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert made.count(True) == 1
    assert {path.name for path in files.data_dir.iterdir()} == {"secrets", "admin-token"}


def test_a_transfers_key_is_kept_replaced_and_forgotten(files: SecretFiles) -> None:
    assert files.key(TRANSFER) is None
    files.keep_key(TRANSFER, "first")
    files.keep_key(TRANSFER, "second")
    assert files.key(TRANSFER) == "second"
    files.forget_key(TRANSFER)
    files.forget_key(TRANSFER)
    assert files.key(TRANSFER) is None
    assert list((files.data_dir / "keys").iterdir()) == []


def test_a_transfer_id_cannot_leave_the_folder(files: SecretFiles) -> None:
    with pytest.raises(InvalidRequest):
        files.keep_key("../../etc/passwd", "x")
