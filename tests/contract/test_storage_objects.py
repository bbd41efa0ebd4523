"""What is particular to attachments in object stores, on real ones."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

import obstore
import pytest
from tests.fakes.object_servers import READER_KEY, READER_SECRET, SECRET, ObjectServer
from tests.fakes.storages import BUCKETS, Bench, Benches, content, get, listed, pieces, put, small

from growi_transfer.protocol.errors import (
    NameIllegal,
    SizeMismatch,
    StorageNotWritable,
    StorageRefused,
    StorageUnavailable,
    TransferError,
)
from growi_transfer.storage.base import READ_CHUNK, FileMeta, SmallFile, StoredFile
from growi_transfer.storage.digest import digest_of
from growi_transfer.storage.object_store import bucket as bucket_module
from growi_transfer.storage.object_store import leftovers, reading, s3_long, s3_objects
from growi_transfer.storage.object_store.bucket import Bucket
from growi_transfer.storage.object_store.s3_multipart import S3Multipart
from growi_transfer.storage.object_store.s3_requests import S3Refusal, S3Requests, values
from growi_transfer.storage.object_store.storage import ObjectStorage
from growi_transfer.storage.places import Place, place_of
from growi_transfer.storage.registry import leftovers_of

PART = 8 << 20
PICTURE = FileMeta("image/png", "絵 (1).png")
HEADERS = {"Content-Type": "image/png", "Content-Disposition": "attachment;filename*=UTF-8''%E7%B5%B5%20(1).png"}


@pytest.fixture(params=["aws", "azure", "gcs"])
async def objects(benches: Benches, request: pytest.FixtureRequest) -> Bench:
    return await benches.make(request.param)


@pytest.fixture
async def s3(benches: Benches) -> Bench:
    return await benches.make("aws")


def bucket_of(bench: Bench) -> Bucket:
    assert bench.place is not None
    return Bucket(bench.place)


async def headers_of(bench: Bench, path: str) -> dict[str, str]:
    bucket = bucket_of(bench)
    answer = await obstore.get_async(bucket.client, bucket.key(path))
    return {name: value for name, value in answer.attributes.items() if name in HEADERS}


async def uploads_of(bench: Bench) -> list[str]:
    """Keys of the multipart uploads that are under way in the folder of this test."""
    assert bench.place is not None
    requests = S3Requests(bench.place)
    try:
        _, text = await requests.send("GET", "", {"uploads": "", "prefix": bench.place.prefix})
        return values(text, "Key")
    finally:
        await requests.close()


async def own_objects(bench: Bench) -> list[str]:
    return [one.path async for page in bucket_of(bench).pages(".growi-transfer/") for one in page]


# --- what GROWI stores -----------------------------------------------------------------------------------------------


async def test_headers_are_those_of_growi_whatever_way_a_file_comes(objects: Bench) -> None:
    storage = objects.storage
    await storage.write_many([SmallFile("attachment/small", b"x", PICTURE)])
    await storage.write("attachment/one", pieces(b"one"), 3, PICTURE)
    await storage.write("attachment/large", pieces(content(PART + 5)), PART + 5, PICTURE)
    for name, size in (("parts", PART + 5), ("tail", 5)):
        upload = await storage.partial(f"attachment/{name}", name, PICTURE)
        await upload.write(content(size))
        await upload.sync()
        await upload.close()
        upload = await objects.again().partial(f"attachment/{name}", name)
        await upload.finish()
    await storage.move("attachment/small", "user/moved")
    for path in ("user/moved", "attachment/one", "attachment/large", "attachment/parts", "attachment/tail"):
        assert await headers_of(objects, path) == HEADERS, path


async def test_the_upload_namespace_is_a_folder_of_the_bucket(s3: Bench) -> None:
    assert s3.place is not None
    await put(s3.storage, "attachment/a", b"a")
    beside = ObjectStorage(replace(s3.place, prefix=f"{s3.place.prefix}attachment/"))
    assert await beside.stat_many(["a"]) == [StoredFile("a", 1)]


async def test_what_others_keep_in_the_bucket_is_left_alone(objects: Bench) -> None:
    others = ("backup/attachment/a", "attachments/a", "attachment", "users/x", "zzz", ".growi-transfers/x")
    bucket = bucket_of(objects)
    for path in others:
        await bucket.put(path, b"theirs")
    await put(objects.storage, "attachment/a", b"a")
    await put(objects.storage, "page-bulk-export/b", b"b")
    await put(objects.storage, "user/c", b"c")
    assert [file.path for file in await listed(objects.storage)] == ["attachment/a", "page-bulk-export/b", "user/c"]
    assert [file.path for file in await listed(objects.storage, "attachment")] == ["attachment/a"]


NAMES = ["日本 é", "a b+c%20&=?#x", "~*'()!@$,;:[]{}|^`\"<>", ".x", "..x", "x.", "100%", "a%2fb", "-"]


async def test_odd_names(objects: Bench) -> None:
    paths = [f"attachment/{name}" for name in NAMES]
    assert await objects.storage.write_many([SmallFile(path, path.encode()) for path in paths]) == [None] * len(paths)
    assert await objects.storage.read_many(paths, 1000) == [path.encode() for path in paths]
    assert sorted(file.path for file in await listed(objects.storage)) == sorted(paths)
    for number, path in enumerate(paths):
        await objects.storage.move(path, f"user/{number}")
        assert await get(objects.storage, f"user/{number}") == path.encode()
        upload = await objects.storage.partial(path, f"n{number}")
        await upload.write(b"again")
        await upload.finish()
    await objects.storage.delete_many(paths)
    assert len(await listed(objects.storage)) == len(paths)


async def test_a_large_file_of_an_odd_name(s3: Bench) -> None:
    path = "attachment/" + NAMES[1] + NAMES[2]
    await s3.storage.write(path, pieces(content(PART + 1)), PART + 1)
    assert await get(s3.storage, path) == content(PART + 1)


@pytest.mark.parametrize("name", ["a\tb", "a\nb", "\x7f", "x" * 1000])
async def test_names_that_no_object_can_have(objects: Bench, name: str) -> None:
    (error,) = await objects.storage.write_many([SmallFile(f"attachment/{name}", b"x")])
    assert isinstance(error, NameIllegal)


async def test_folders_that_a_console_has_made_are_no_files(s3: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their keys end in a slash, which obstore takes away: `attachment/b/` would come as `attachment/b` behind
    `attachment/b-1`, out of order."""
    monkeypatch.setattr(bucket_module, "PAGE", 2)
    bucket = bucket_of(s3)
    assert bucket.s3 is not None
    for folder in ("attachment/", "attachment/b/", "attachment/c/", f"attachment/{MD5}/", "user/"):
        await bucket.s3.send("PUT", bucket.key(folder), {})
    await bucket.close()
    files = [f"attachment/{name}" for name in ("a", "b-1", "c/d", "empty")]
    await s3.storage.write_many([*small(files[:-1]), SmallFile(files[-1], b"")])
    assert [file.path for file in await listed(s3.storage)] == sorted(files)


# --- large files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [PART, PART + 1, 2 * PART, 3 * PART - 1])
async def test_large_files(objects: Bench, size: int) -> None:
    data = content(size)
    await objects.storage.write("attachment/a", pieces(data, 3_000_001), size)
    upload = await objects.storage.partial("attachment/b", "id")
    for start in range(0, size, 5_000_003):
        await upload.write(data[start : start + 5_000_003])
    assert await upload.sha256() == sha256(data).digest()
    await upload.finish()
    for path in ("attachment/a", "attachment/b"):
        assert await get(objects.again(), path) == data
    assert await get(objects.storage, "attachment/a", PART - 3) == data[PART - 3 :]
    assert await own_objects(objects) == []


async def test_a_large_upload_over_several_lives(objects: Bench) -> None:
    data = content(3 * PART + 77)
    durable = 0
    for target in (PART - 1, PART + 1, 2 * PART + 5, len(data)):
        upload = await objects.again().partial("attachment/a", "id", PICTURE)
        assert durable <= upload.offset <= target
        await upload.write(data[upload.offset : target])
        durable = await upload.sync()
        assert durable == target
        # This process dies here: what it goes on to write is lost, or is not, and nothing is closed.
        await upload.write(data[target : target + 2])
        for task in upload._sending:
            task.cancel()
        await asyncio.gather(*upload._sending, return_exceptions=True)
    last = objects.again()
    upload = await last.partial("attachment/a", "id")
    assert upload.offset == len(data)
    assert await upload.sha256() in (None, sha256(data).digest())
    assert await listed(last) == []
    await upload.finish()
    assert await digest_of(last, "attachment/a") == sha256(data).digest()
    assert await headers_of(objects, "attachment/a") == HEADERS
    assert await own_objects(objects) == []


@pytest.fixture
def few_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if S3 took so few parts that a file of 40 MiB needs segments."""
    monkeypatch.setattr(s3_long, "DIRECT", 1)
    monkeypatch.setattr(s3_long, "IN_SEGMENT", 2)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("dies_at", ["", "complete", "copy_part"])
@pytest.mark.usefixtures("few_parts")
async def test_more_parts_than_s3_takes(s3: Bench, monkeypatch: pytest.MonkeyPatch, dies_at: str) -> None:
    """Killed before a segment is put together, or before it is copied in; the next process goes on there."""
    data = content(4 * PART + 5)
    upload = await s3.storage.partial("attachment/a", "id", PICTURE)
    await upload.write(data[: 2 * PART + 5])
    assert await upload.sync() == 2 * PART + 5
    if dies_at:

        async def die(*_: object) -> None:
            raise Killed

        monkeypatch.setattr(S3Multipart, dies_at, die)
        await upload.write(data[2 * PART + 5 : 3 * PART + 1])
        with pytest.raises(Killed):
            await asyncio.gather(*upload._sending)
        monkeypatch.undo()
        monkeypatch.setattr(s3_long, "DIRECT", 1)
        monkeypatch.setattr(s3_long, "IN_SEGMENT", 2)
    upload = await s3.again().partial("attachment/a", "id")
    assert upload.offset == (3 * PART if dies_at else 2 * PART + 5)
    await upload.write(data[upload.offset :])
    await upload.sync()
    await upload.finish()
    assert await digest_of(s3.storage, "attachment/a") == sha256(data).digest()
    assert await headers_of(s3, "attachment/a") == HEADERS
    assert (await own_objects(s3), await uploads_of(s3)) == ([], [])


@pytest.mark.parametrize("to_another_path", [False, True])
@pytest.mark.usefixtures("few_parts")
async def test_more_parts_than_s3_takes_that_are_given_up(s3: Bench, to_another_path: bool) -> None:
    upload = await s3.storage.partial("attachment/a", "id")
    await upload.write(content(4 * PART + 5))
    await upload.sync()
    assert len(await uploads_of(s3)) == 2
    again = await s3.again().partial("attachment/a", "id")
    assert again.offset == 4 * PART + 5
    if to_another_path:
        await s3.again().partial("attachment/b", "id")
    else:
        await again.abort()
    assert (await own_objects(s3), await uploads_of(s3)) == ([], [])


@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.usefixtures("few_parts")
async def test_a_plain_write_of_more_parts_than_s3_takes(s3: Bench, missing: int) -> None:
    data = content(4 * PART + 5)
    try:
        await s3.storage.write("attachment/a", pieces(data), len(data) + missing)
    except SizeMismatch:
        assert missing
    else:
        assert await digest_of(s3.storage, "attachment/a") == sha256(data).digest()
    assert len(await listed(s3.storage)) == 1 - missing
    assert (await own_objects(s3), await uploads_of(s3)) == ([], [])


async def test_an_upload_that_is_given_up_leaves_no_parts(s3: Bench) -> None:
    upload = await s3.storage.partial("attachment/a", "id")
    await upload.write(content(2 * PART + 1))
    await upload.sync()
    assert len(await uploads_of(s3)) == 1
    await upload.close()
    again = await s3.again().partial("attachment/a", "id")
    assert again.offset == 2 * PART + 1
    await again.abort()
    assert await uploads_of(s3) == []
    assert await own_objects(s3) == []


async def test_an_upload_whose_parts_have_gone_begins_again(s3: Bench) -> None:
    upload = await s3.storage.partial("attachment/a", "id")
    await upload.write(content(PART + 1))
    await upload.sync()
    await upload._store._upload.abort()  # as a rule of the bucket does after some days
    again = await s3.again().partial("attachment/a", "id")
    assert again.offset == 0
    await again.write(b"anew")
    await again.finish()
    assert await get(s3.storage, "attachment/a") == b"anew"


async def test_an_upload_to_another_path_begins_again(s3: Bench) -> None:
    upload = await s3.storage.partial("attachment/a", "id")
    await upload.write(content(PART + 1))
    await upload.sync()
    again = await s3.again().partial("attachment/b", "id")
    assert again.offset == 0
    assert await uploads_of(s3) == []
    await again.abort()


@pytest.mark.parametrize("fault", ["short", "long", "breaks", "cancelled"])
async def test_a_large_write_that_fails_leaves_nothing(objects: Bench, fault: str) -> None:
    reached = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        for start in range(0, 3 * PART, READ_CHUNK):
            yield content(READ_CHUNK, start)
        if fault == "breaks":
            raise ConnectionResetError("cut")
        if fault == "cancelled":
            reached.set()
            await asyncio.Event().wait()

    size = 3 * PART + {"short": 1, "long": -1}.get(fault, 0)
    task = asyncio.ensure_future(objects.storage.write("attachment/a", source(), size))
    if fault == "cancelled":
        await reached.wait()
        task.cancel()
    with pytest.raises((SizeMismatch, ConnectionResetError, asyncio.CancelledError)):
        await task
    assert await listed(objects.storage) == []
    if objects.kind == "aws":
        assert await uploads_of(objects) == []


async def test_a_file_that_is_replaced_while_it_is_read(objects: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "RANGE", READ_CHUNK)
    old, new = content(3 * PART, 1), content(3 * PART, 2)
    await objects.storage.write("attachment/a", pieces(old), len(old))
    stream = objects.storage.open("attachment/a")
    assert await anext(stream) == old[:READ_CHUNK]
    await objects.storage.write("attachment/a", pieces(new), len(new))
    rest = b""

    async def go_on() -> None:
        nonlocal rest
        async for chunk in stream:
            rest += chunk

    with pytest.raises(StorageUnavailable, match="replaced"):
        await go_on()
    assert len(rest) < len(old) - READ_CHUNK
    assert old[READ_CHUNK:].startswith(rest)
    assert await get(objects.storage, "attachment/a") == new


# --- what killed processes leave -------------------------------------------------------------------------------------

EVERYTHING, NOTHING = timedelta(hours=-1), timedelta(hours=1)
"""Ages: all that is there is older than the first one."""
MD5 = "0123456789abcdef0123456789abcdef"


async def leftovers_in(bench: Bench, older_than: timedelta = EVERYTHING) -> dict[str, int]:
    found = leftovers_of(bench.storage)
    assert found is not None
    return {one.name: one.size async for page in found.leftovers(older_than) for one in page}


async def test_what_killed_processes_left_in_s3(s3: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = bucket_of(s3)
    assert bucket.s3 is not None

    async def begun(path: str) -> str:
        upload = S3Multipart(bucket, bucket.s3, path)  # type: ignore[arg-type]
        await upload.begin(None)
        await upload.put(1, content(100))
        return f"{path}?uploadId={upload.upload_id}"

    killed = [await begun(f"attachment/{MD5}.png") for _ in range(2)]
    killed += [await begun(f".growi-transfer/.parts/write-{MD5}/segment5001")]
    for path in ("attachment/photo.png", "backup/attachment/x", f"attachments/{MD5}", f"{MD5}.png"):
        await begun(path)  # another application's
    upload = await s3.storage.partial(f"attachment/{MD5}.mp4", "id")
    monkeypatch.setattr(s3_long, "DIRECT", 0)  # it has a segment, too
    await upload.write(content(PART + 1))
    await upload.sync()
    monkeypatch.setattr(leftovers, "_PAGE", "1")
    assert await leftovers_in(s3, NOTHING) == {}
    assert await leftovers_in(s3) == dict.fromkeys(killed, 100)
    found = leftovers_of(s3.storage)
    assert found is not None
    assert await found.remove_leftovers([*killed, "attachment/photo.png"], EVERYTHING) == set(killed)
    assert await leftovers_in(s3) == {}
    assert len(await uploads_of(s3)) == 4 + 2
    again = await s3.again().partial(f"attachment/{MD5}.mp4", "id")
    assert again.offset == PART + 1
    await again.abort()
    await bucket.close()


async def test_an_upload_is_as_old_as_its_last_part(s3: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    send = S3Requests.send

    async def begun_long_ago(self: S3Requests, method: str, key: str, query: dict[str, str], *more: object) -> object:
        headers, text = await send(self, method, key, query, *more)  # type: ignore[arg-type]
        return headers, re.sub("<Initiated>[^<]*", "<Initiated>2001-01-01T00:00:00Z", text)

    monkeypatch.setattr(S3Requests, "send", begun_long_ago)
    bucket = bucket_of(s3)
    assert bucket.s3 is not None
    going_on, lost = (S3Multipart(bucket, bucket.s3, f"attachment/{MD5}.{number}") for number in range(2))
    for upload in (going_on, lost):
        await upload.begin(None)
    await going_on.put(1, b"x")
    await bucket.close()
    assert list(await leftovers_in(s3, NOTHING)) == [f"attachment/{MD5}.1?uploadId={lost.upload_id}"]


async def test_files_of_killed_probes_and_writes(objects: Bench) -> None:
    bucket = bucket_of(objects)
    killed = [".growi-transfer/.parts/write-1/segment5001", ".growi-transfer/probe/1"]
    for path in (*killed, ".growi-transfer/.parts/write/0000000000000000-00000001", ".growi-transfer/probes/1"):
        await bucket.put(path, b"x")
    assert await leftovers_in(objects, NOTHING) == {}
    assert await leftovers_in(objects) == dict.fromkeys(killed, 1)
    found = leftovers_of(objects.storage)
    assert found is not None
    assert await found.remove_leftovers(killed[1:], EVERYTHING) == set(killed[1:])
    assert len(await own_objects(objects)) == 3


async def test_a_store_that_does_not_tell_its_multipart_uploads(s3: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    send = S3Requests.send

    async def denied(self: S3Requests, method: str, key: str, query: dict[str, str], *more: object) -> object:
        if "uploads" in query:
            raise S3Refusal(403, "<Code>AccessDenied</Code>")
        return await send(self, method, key, query, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(S3Requests, "send", denied)
    await bucket_of(s3).put(".growi-transfer/probe/1", b"x")
    assert await leftovers_in(s3) == {".growi-transfer/probe/1": 1}


# --- settings that are wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_the_store", [True, False])
async def test_a_move_of_more_than_one_request_copies(
    s3: Bench, monkeypatch: pytest.MonkeyPatch, by_the_store: bool
) -> None:
    monkeypatch.setattr(s3_objects, "ONE_REQUEST", 10 << 20)
    monkeypatch.setattr(s3_objects, "_RANGE", 5 << 20)
    assert isinstance(s3.storage, ObjectStorage)
    if not by_the_store:
        s3.storage.copies = None  # S3 without an access key of GROWI's
    data = content((11 << 20) + 1)
    await s3.storage.write("attachment/from", pieces(data), len(data), PICTURE)
    await s3.storage.move("attachment/from", "attachment/to")
    assert await get(s3.storage, "attachment/to") == data
    assert await headers_of(s3, "attachment/to") == HEADERS
    assert [file.path for file in await listed(s3.storage)] == ["attachment/to"]
    assert await uploads_of(s3) == []


async def everything(storage: ObjectStorage) -> dict[str, TransferError]:
    """The error of each operation."""
    found: dict[str, TransferError] = {}

    async def note(name: str, operation: object) -> None:
        try:
            await operation  # type: ignore[misc]
        except TransferError as error:
            found[name] = error

    await note("open", anext(storage.open("attachment/a")))
    await note("stat", storage.stat_many(["attachment/a"]))
    await note("list", anext(aiter(storage.list_files())))
    await note("write", storage.write("attachment/a", pieces(b"x"), 1))
    await note("large", storage.write("attachment/a", pieces(bytes(PART + 1)), PART + 1))
    await note("delete", storage.delete("attachment/a"))
    await note("move", storage.move("attachment/a", "attachment/b"))
    await note("probe", storage.probe())
    (read,) = await storage.read_many(["attachment/a"], 1)
    (written,) = await storage.write_many([SmallFile("attachment/a", b"x")])
    await storage.close()
    many = {"read_many": read, "write_many": written}
    return found | {name: result for name, result in many.items() if isinstance(result, TransferError)}


READING = {"open", "stat", "list", "read_many"}
WRITING = {"write", "large", "delete", "write_many", "probe"}


def check(found: dict[str, TransferError], text: str, *, without: str = "") -> None:
    assert set(found) >= (READING | WRITING) - {without}
    for name, error in found.items():
        assert text in error.message, (name, error.message)
        assert isinstance(error, StorageRefused if name in READING | {"move"} else StorageNotWritable), (name, error)
        assert SECRET not in error.message
        assert "<" not in error.message
        assert "Debug" not in error.message


@pytest.mark.parametrize("setting", ["aws:s3AccessKeyId", "aws:s3SecretAccessKey"])
async def test_wrong_credentials(aws_server: ObjectServer, setting: str) -> None:
    place = place_of("aws", aws_server.settings(BUCKETS["aws"], **{setting: "somebody-else"}))
    check(await everything(ObjectStorage(place)), "aws:s3AccessKeyId")


async def test_a_missing_bucket(aws_server: ObjectServer) -> None:
    found = await everything(ObjectStorage(place_of("aws", aws_server.settings("nowhere"))))
    check(found, "There is no bucket nowhere at http://")


async def test_a_denied_write(aws_server: ObjectServer, s3: Bench) -> None:
    keys = {"aws:s3AccessKeyId": READER_KEY, "aws:s3SecretAccessKey": READER_SECRET}
    await put(s3.storage, "attachment/a", b"a")
    assert s3.place is not None
    place = replace(place_of("aws", aws_server.settings(BUCKETS["aws"], **keys)), prefix=s3.place.prefix)
    found = await everything(ObjectStorage(place))
    assert set(found) == {*WRITING, "move"}
    for error in found.values():
        assert isinstance(error, StorageNotWritable)
        assert "do not allow to write to the bucket contract" in error.message


async def test_a_wrong_key_and_a_missing_container_of_azure(azure_server: ObjectServer) -> None:
    settings = azure_server.settings("nowhere")
    place = place_of("azure", settings)
    check(await everything(ObjectStorage(place)), "There is no container nowhere at http://", without="delete")
    wrong: Place = replace(place, bucket=BUCKETS["azure"], account_key="d3Jvbmc=")
    check(await everything(ObjectStorage(wrong)), "GROWI_TRANSFER_AZURE_ACCOUNT_KEY")


# --- digests from one request to the next ----------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [5, PART, PART + 5])
async def test_the_digest_goes_on_in_the_next_handle(s3: Bench, cut: int) -> None:
    data = content(2 * PART + 17)
    for start, end in ((0, cut), (cut, len(data)), (len(data), len(data))):
        upload = await s3.storage.partial("attachment/a", "id")
        assert upload.offset == start
        await upload.write(data[start:end])
        await upload.sync()
        await upload.close()
    upload = await s3.storage.partial("attachment/a", "id")
    assert await upload.sha256() == sha256(data).digest()
    await upload.finish()
    await upload.close()
    assert await get(s3.storage, "attachment/a") == data


async def test_the_digest_is_not_believed_when_the_store_has_less(s3: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    data = content(PART)
    upload = await s3.storage.partial("attachment/a", "id")
    await upload.write(data[:100])
    await upload.sync()
    await upload.write(data[100:])  # all of the part, which never arrives
    monkeypatch.setattr(S3Requests, "send", refuse)
    await upload.close()
    monkeypatch.undo()
    upload = await s3.storage.partial("attachment/a", "id")
    assert upload.offset == 100
    await upload.write(data[100:200])
    await upload.sync()
    assert await upload.sha256() is None
    await upload.abort()
    await upload.close()


async def refuse(*_: object, **__: object) -> None:
    raise S3Refusal(403, "<Code>AccessDenied</Code>")
