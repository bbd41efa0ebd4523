"""The running server of this data folder, as `growi-transfer jobs` asks it: its jobs API, on this machine."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode, urlsplit

from growi_transfer.cli.server_file import running_server
from growi_transfer.cli.session import Session
from growi_transfer.protocol.errors import DigestMismatch, OperatorFault, PeerUnavailable, recalled
from growi_transfer.protocol.wire import API
from growi_transfer.secret_files import SecretFiles

_SECONDS = 60.0
"""A cancel is answered when nothing works any more."""
_PIECE = 1 << 20


class JobsServer:
    """`find` it. All methods raise what the server answers, and PeerUnavailable when it does not."""

    def __init__(self, url: str, token: str) -> None:
        self._host = urlsplit(url).netloc
        self._token = token

    @classmethod
    def find(cls, session: Session) -> JobsServer:
        """Raises OperatorFault when there is none."""
        settings = session.settings()
        server = running_server(settings.data_dir)
        if server is None:
            raise OperatorFault("Jobs are done by the server: start it with `growi-transfer serve`.")
        token = settings.admin_token or SecretFiles(settings.data_dir).admin_token().token
        return cls(server.url, token.get_secret_value())

    def page(self, **query: object) -> dict[str, Any]:
        given = {name: value for name, value in query.items() if value is not None}
        return self._json("GET", f"/jobs?{urlencode(given)}")

    def job(self, kind: str, job_id: str) -> dict[str, Any]:
        return self._one("GET", f"/{kind}-jobs/{job_id}")

    def export(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        return self._one("POST", "/export-jobs", json.dumps(wanted).encode())

    def import_(self, archive: Path) -> dict[str, Any]:
        with archive.open("rb") as body:
            size = os.fstat(body.fileno()).st_size
            return self._one("POST", "/import-jobs", body, {"content-length": str(size)})

    def cancel(self, kind: str, job_id: str) -> dict[str, Any]:
        return self._one("POST", f"/{kind}-jobs/{job_id}/cancel", b"{}")

    def download(self, job_id: str, sha256: str, to: Path) -> int:
        """Write the file of an export, whole or not at all; its bytes. Raises DigestMismatch."""
        partial = to.with_name(f".{to.name}.{os.getpid()}.part")
        found = hashlib.sha256()
        size = 0
        try:
            with self._answer("GET", f"/export-jobs/{job_id}/download") as answer, partial.open("xb") as file:
                partial.chmod(0o600)
                while piece := answer.read(_PIECE):
                    found.update(piece)
                    size += file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            if found.hexdigest() != sha256:
                raise DigestMismatch("What was downloaded is not the file that the export made.")
            partial.replace(to)
        except OSError as error:
            raise OperatorFault(f"{to} cannot be written: {error.strerror}.") from error
        finally:
            partial.unlink(missing_ok=True)
        return size

    def _one(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        job: dict[str, Any] = self._json(method, path, body, headers)["job"]
        return job

    def _json(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        with self._answer(method, path, body, headers) as answer:
            told: dict[str, Any] = json.loads(answer.read())
            return told

    @contextmanager
    def _answer(
        self, method: str, path: str, body: bytes | IO[bytes] | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        given = {"authorization": f"Bearer {self._token}", "content-type": "application/json", **(headers or {})}
        with closing(http.client.HTTPConnection(self._host, timeout=_SECONDS)) as connection:
            try:
                with suppress(BrokenPipeError):  # it has answered before it had read everything
                    connection.request(method, API + path, body, given)
                answer = connection.getresponse()
                if answer.status >= 400:
                    raise _refusal(answer)
                yield answer
            except (ConnectionError, TimeoutError, http.client.HTTPException, ValueError) as error:
                raise PeerUnavailable("The server does not answer.") from error


def _refusal(answer: http.client.HTTPResponse) -> Exception:
    error = json.loads(answer.read())["errors"][0]
    return recalled(error["code"], error["message"], error.get("details", {}), retryable=answer.status >= 500)
