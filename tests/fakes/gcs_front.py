"""Google's XML API in front of an S3 server.

The XML API of Google Cloud Storage is S3's but for who may ask and for the names of a few headers; those are what this
translates. It lets in who shows a token that the service account of `service_account` has signed, as Google does, and
forwards the request without it.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_PIECE = 256 << 10
_EMAIL = "wiki@growi-transfer.iam.example"
_REQUEST_HEADERS = {"x-goog-copy-source": "x-amz-copy-source", "x-goog-user-project": ""}
"""Google's names and S3's; an empty one is left out."""
_HOPS = frozenset(("authorization", "connection", "host", "keep-alive", "transfer-encoding"))


class GcsFront:
    """Listens on a free port of 127.0.0.1 in threads of this process until it is left."""

    def __init__(self, target: str) -> None:
        """`target` is the URL of an S3 server that needs no signature for the buckets of the tests."""
        self._target = target.removeprefix("http://")
        self._private_key = _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
        self._public_key = _openssl("pkey", "-pubout", stdin=self._private_key)
        self._let_in: set[str] = set()
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with suppress(ConnectionError):
                    super().handle_one_request()

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return lambda: front._forward(self)
                raise AttributeError(name)

            def log_message(self, *_: object) -> None:
                """Nothing: every request would be a line."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> GcsFront:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def service_account(self) -> dict[str, str]:
        """What Google gives as a JSON key file."""
        return {
            "type": "service_account",
            "project_id": "growi-transfer",
            "private_key_id": "1",
            "private_key": self._private_key.decode(),
            "client_email": _EMAIL,
            "client_id": "1",
            "token_uri": f"{self.url}/token",
            "gcs_base_url": self.url,
        }

    def _forward(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("content-length", 0))
        body = _Body(request, length)
        if not self._knows(request.headers.get("authorization", "")):
            body.drain()
            _answer(request, 401, b"<Error><Code>AuthenticationRequired</Code></Error>")
            return
        headers = {}
        for name, value in request.headers.items():
            ours = _REQUEST_HEADERS.get(name.lower(), name)
            if ours and name.lower() not in _HOPS:
                headers[ours] = value
        if headers.pop("x-goog-if-generation-match", None) == "0":
            headers["if-none-match"] = "*"
        headers["content-length"] = str(length)
        line = http.client.HTTPConnection(self._target, timeout=60)
        try:
            line.request(request.command, request.path, body if length else None, headers)
            self._relay(request, line.getresponse())
        finally:
            line.close()

    def _relay(self, request: BaseHTTPRequestHandler, answer: http.client.HTTPResponse) -> None:
        request.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOPS:
                request.send_header(name, value)
        if etag := answer.getheader("etag"):
            request.send_header("x-goog-generation", str(int(hashlib.sha256(etag.encode()).hexdigest()[:12], 16)))
        chunked = answer.getheader("content-length") is None and request.command != "HEAD" and answer.status != 204
        if chunked:
            request.send_header("transfer-encoding", "chunked")
        request.end_headers()
        while piece := answer.read(_PIECE):
            request.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            request.wfile.write(b"0\r\n\r\n")

    def _knows(self, authorization: str) -> bool:
        """Whether this is a token of the service account's for now."""
        token = authorization.removeprefix("Bearer ")
        if token in self._let_in:
            return True
        signed, _, signature = token.rpartition(".")
        try:
            claims: Mapping[str, Any] = json.loads(_decoded(signed.rpartition(".")[2]))
            known = claims["iss"] == _EMAIL and claims["iat"] <= time.time() + 60 <= claims["exp"] + 60
            if not known or not self._verified(signed.encode(), _decoded(signature)):
                return False
        except (KeyError, TypeError, ValueError):
            return False
        self._let_in.add(token)
        return True

    def _verified(self, signed: bytes, signature: bytes) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            key, proof = Path(folder) / "key", Path(folder) / "proof"
            key.write_bytes(self._public_key)
            proof.write_bytes(signature)
            command = ["openssl", "dgst", "-sha256", "-verify", str(key), "-signature", str(proof)]
            return subprocess.run(command, input=signed, capture_output=True, check=False).returncode == 0


class _Body:
    """The body of a request as a file of a known length."""

    def __init__(self, request: BaseHTTPRequestHandler, length: int) -> None:
        self._request = request
        self._left = length

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        piece = self._request.rfile.read(wanted) if wanted else b""
        self._left -= len(piece)
        return piece

    def drain(self) -> None:
        while self.read(_PIECE):
            pass


def _answer(request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    request.send_response_only(status)
    request.send_header("content-length", str(len(body)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, check=True).stdout
