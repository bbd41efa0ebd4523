"""Where a wiki of a test keeps its attachments, in any of GROWI's storages, looked at without our own code but
for a signature.

uploads = Uploads("aws", server, bucket)
uploads.configure(database)                     # the settings that GROWI has in its database
Settings.load({..., **uploads.environment})     # and those of the environment
uploads.put("attachment/name", b"content")
"""

from __future__ import annotations

import hashlib
import json
import re
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gridfs
import obstore
from obstore.store import AzureStore, GCSStore, S3Store
from pymongo.database import Database
from tests.fakes.object_servers import AZURE_ACCOUNT, AZURE_KEY, KEY, SECRET, ObjectServer

from growi_transfer.storage.object_store.s3_signature import S3Key, query_of_url, signed_headers
from growi_transfer.storage.places import place_of

CHUNK = 4 << 20


@dataclass(frozen=True)
class Uploads:
    """`root` is the folder of a local storage, `database` that of GridFS, `server` and `bucket` an object store."""

    kind: str
    root: Path | None = None
    database: Database[dict[str, Any]] | None = None
    server: ObjectServer | None = None
    bucket: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """Settings of the process."""
        found = {"FILE_UPLOAD": "mongodb" if self.kind == "gridfs" else self.kind}
        if self.kind == "azure":
            assert self.server is not None
            found["GROWI_TRANSFER_AZURE_ACCOUNT_KEY"] = AZURE_KEY
            found["GROWI_TRANSFER_AZURE_ENDPOINT"] = f"{self.server.endpoint}/{AZURE_ACCOUNT}"
        if self.kind == "gcs":
            assert self.server is not None
            found["GROWI_TRANSFER_GCS_ENDPOINT"] = self.server.endpoint
        return found

    def configure(self, database: Database[dict[str, Any]], endpoint: str | None = None) -> None:
        """Settings of the wiki itself, as GROWI's admin pages write them. `endpoint`: in place of the server's."""
        values: dict[str, Any] = {"app:fileUploadType": self.environment["FILE_UPLOAD"]}
        if self.server is not None:
            values |= self.server.settings(self.bucket).values
        if endpoint is not None:
            values["aws:s3CustomEndpoint"] = endpoint
        for key, value in values.items():
            now = datetime.now(UTC)
            change = {"$set": {"value": json.dumps(value), "updatedAt": now}, "$setOnInsert": {"createdAt": now}}
            database["configs"].update_one({"key": key}, change, upsert=True)

    def put(self, path: str, content: bytes) -> None:
        """One file, as GROWI's own code for this storage leaves it."""
        if self.kind == "local":
            assert self.root is not None
            target = self.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        elif self.kind == "gridfs":
            self._grid().put(content, filename=path.rpartition("/")[2])
        else:
            obstore.put(self._store(), self._prefix + path, content, chunk_size=16 << 20)

    def delete(self, path: str) -> None:
        if self.kind == "local":
            assert self.root is not None
            (self.root / path).unlink()
        elif self.kind == "gridfs":
            for found in list(self._grid().find({"filename": path.rpartition("/")[2]})):
                self._grid().delete(found._id)
        else:
            obstore.delete(self._store(), self._prefix + path)

    def digests(self) -> dict[str, str]:
        """SHA-256 of every file, by path; in GridFS by file name. What is our own counts, too, if it is to be seen."""
        return {path: _digest(chunks) for path, chunks in self._contents() if not path.startswith(".")}

    def names(self) -> list[str]:
        """Everything there is, our own hidden files too."""
        return sorted(path for path, _ in self._contents())

    def unfinished(self) -> list[str]:
        """Keys of the multipart uploads that are under way in a bucket of S3."""
        assert self.server is not None
        place = place_of("aws", self.server.settings(self.bucket))
        query = {"uploads": ""}
        url = f"{self.server.endpoint}/{self.bucket}?uploads="
        key = S3Key(place.access_key_id, place.secret_access_key, place.region)
        host = self.server.endpoint.removeprefix("http://")
        empty = hashlib.sha256(b"").hexdigest()
        text = query_of_url(query)
        headers = signed_headers(key, datetime.now(UTC), "GET", host, f"/{self.bucket}", text, {}, empty)
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return re.findall("<Key>([^<]*)</Key>", answer.read().decode())

    def name(self, path: str) -> str:
        """Under which name `digests` has the file of a path."""
        return path.rpartition("/")[2] if self.kind == "gridfs" else path

    def _contents(self) -> Iterator[tuple[str, Iterable[bytes]]]:
        if self.kind == "local":
            assert self.root is not None
            for path in sorted(self.root.rglob("*")):
                if path.is_file():
                    yield path.relative_to(self.root).as_posix(), _pieces(path)
        elif self.kind == "gridfs":
            for found in self._grid().find():
                yield found.filename, _pieces(found)
        else:
            store = self._store()
            for page in obstore.list(store):
                for one in page:
                    path = one["path"].removeprefix(self._prefix)
                    yield path, (bytes(piece) for piece in obstore.get(store, one["path"]).stream(CHUNK))

    def _grid(self) -> gridfs.GridFS:
        assert self.database is not None
        return gridfs.GridFS(self.database, "attachmentFiles")

    @property
    def _prefix(self) -> str:
        return "wiki/" if self.kind == "gcs" else ""

    def _store(self) -> S3Store | AzureStore | GCSStore:
        assert self.server is not None
        server, options = self.server, {"allow_http": True}
        if self.kind == "azure":
            endpoint = f"{server.endpoint}/{AZURE_ACCOUNT}"
            return AzureStore(
                self.bucket,
                account_name=AZURE_ACCOUNT,
                account_key=AZURE_KEY,
                endpoint=endpoint,
                client_options=options,
            )
        if server.key_file is not None:
            return GCSStore(self.bucket, service_account=str(server.key_file), client_options=options)
        return S3Store(
            self.bucket,
            endpoint=server.endpoint,
            region="us-east-1",
            access_key_id=KEY,
            secret_access_key=SECRET,
            client_options=options,
        )


def _pieces(file: Any) -> Iterator[bytes]:
    """Of a path or an open file; nothing is opened before it is read."""
    with file.open("rb") if isinstance(file, Path) else file as opened:
        while piece := opened.read(CHUNK):
            yield piece


def _digest(chunks: Iterable[bytes]) -> str:
    hasher = hashlib.sha256()
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.hexdigest()
