"""The secrets a machine keeps for itself: files in the data folder that only their owner may read.

Each file is made whole under another name and then linked into place, so that two processes that start at the same
moment agree on one secret, and nobody ever reads half of one. A file that others may read is refused rather than
used: whoever could read it may have done so.
"""

from __future__ import annotations

import contextlib
import os
import secrets as randomness
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from growi_transfer.protocol.errors import OperatorFault
from growi_transfer.protocol.names import check_transfer_id

_FILE_LIMIT = 1 << 16
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class AdminToken:
    token: SecretStr
    created: bool
    """Whether it was made just now: the one moment to show it."""


class SecretFiles:
    """Below `data_dir`: `secrets` (one a line, newest last), `admin-token`, and `keys/<transfer id>`.

    Every method raises OperatorFault when the folder or a file cannot be used; the message says what to do.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    @property
    def admin_token_path(self) -> Path:
        return self.data_dir / "admin-token"

    def signing_secrets(self) -> list[SecretStr]:
        """The secrets that sign transfer keys, newest last; one is made when there is none."""
        text, _ = self._read_or_make(self.data_dir / "secrets", randomness.token_urlsafe(48))
        return [SecretStr(line.strip()) for line in text.splitlines() if line.strip()]

    def admin_token(self) -> AdminToken:
        """The admin token; made when there is none."""
        text, created = self._read_or_make(self.admin_token_path, randomness.token_urlsafe(32))
        return AdminToken(SecretStr(text.strip()), created)

    def keep_key(self, transfer_id: str, key_string: str) -> None:
        """Keep the key of a transfer, so that it can go on after a restart. Replaces the one that was there."""
        path = self._key_path(transfer_id)
        partial = self._write_beside(path, key_string)
        try:
            partial.replace(path)
        except OSError as error:
            raise _fault(path, error) from error
        _sync_folder(path.parent)

    def key(self, transfer_id: str) -> str | None:
        """The kept key of a transfer, if there is one."""
        return self._read(self._key_path(transfer_id))

    def forget_key(self, transfer_id: str) -> None:
        """Remove the kept key of a transfer. Twice has one effect."""
        path = self._key_path(transfer_id)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _fault(path, error) from error

    def _key_path(self, transfer_id: str) -> Path:
        return self.data_dir / "keys" / check_transfer_id(transfer_id)

    def _read_or_make(self, path: Path, fresh: str) -> tuple[str, bool]:
        text = self._read(path)
        if text is not None and text.strip():
            return text, False
        if text is not None:
            raise OperatorFault(f"{path} is empty. Remove it to have a new one made.")
        partial = self._write_beside(path, fresh + "\n")
        try:
            # Unlike a rename, a link fails when another process was first.
            os.link(partial, path)
        except FileExistsError:
            return self._read(path) or "", False
        except OSError as error:
            raise _fault(path, error) from error
        finally:
            partial.unlink(missing_ok=True)
        _sync_folder(path.parent)
        return fresh, True

    def _read(self, path: Path) -> str | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _fault(path, error) from error
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OperatorFault(f"{path} is not a file.")
            if sys.platform != "win32" and status.st_mode & _OTHERS:
                raise OperatorFault(
                    f"{path} can be read by others. Remove it to have a new one made, or run: chmod 600 {path}"
                )
            try:
                return file.read(_FILE_LIMIT).decode()
            except UnicodeDecodeError:
                raise OperatorFault(f"{path} holds no secret of ours. Remove it to have a new one made.") from None

    def _write_beside(self, path: Path, text: str) -> Path:
        partial = path.with_name(f".{path.name}.{randomness.token_hex(8)}")
        try:
            for folder in (self.data_dir, path.parent):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise _fault(path, error) from error
        return partial


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _fault(path: Path, error: OSError) -> OperatorFault:
    return OperatorFault(
        f"{path} cannot be used: {error.strerror}. Name another folder in GROWI_TRANSFER_DATA_DIR.", path=str(path)
    )
