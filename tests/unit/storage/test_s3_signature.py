"""Signatures: the examples of Amazon's documentation, and what goes into a URL."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256

from growi_transfer.storage.object_store.s3_signature import S3Key, path_of_url, query_of_url, signed_headers

KEY = S3Key("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1")
NOW = datetime(2013, 5, 24, tzinfo=UTC)
HOST = "examplebucket.s3.amazonaws.com"
EMPTY = sha256(b"").hexdigest()


def signature(
    method: str, path: str, query: dict[str, str], headers: dict[str, str] | None = None, body: bytes = b""
) -> str:
    digest = sha256(body).hexdigest()
    sent = signed_headers(KEY, NOW, method, HOST, path_of_url("", path), query_of_url(query), headers or {}, digest)
    return sent["authorization"].rpartition("Signature=")[2]


def test_the_examples_of_the_documentation() -> None:
    assert (
        signature("GET", "test.txt", {}, {"range": "bytes=0-9"})
        == "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )
    headers = {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}
    assert (
        signature("PUT", "test$file.text", {}, headers, b"Welcome to Amazon S3.")
        == "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    )
    assert signature("GET", "", {"lifecycle": ""}) == "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    assert (
        signature("GET", "", {"max-keys": "2", "prefix": "J"})
        == "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    )


def test_odd_characters_in_an_address() -> None:
    assert path_of_url("wiki", "attachment/日 本+%.png") == "/wiki/attachment/%E6%97%A5%20%E6%9C%AC%2B%25.png"
    assert query_of_url({"uploadId": "a/b+c=", "partNumber": "1"}) == "partNumber=1&uploadId=a%2Fb%2Bc%3D"


def test_no_secret_shows() -> None:
    assert KEY.secret_access_key not in repr(KEY)
    assert KEY.secret_access_key not in repr(signed_headers(KEY, NOW, "GET", HOST, "/", "", {}, EMPTY))
