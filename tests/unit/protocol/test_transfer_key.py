from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.protocol.errors import TransferKeyMalformed
from growi_transfer.protocol.transfer_key import SEPARATOR, format_key, normalise_origin, parse_key

GROWI_TOKEN = "6b01ed7e98f83b3b157ddcd8"
LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
HOSTS = st.one_of(
    st.lists(LABELS, min_size=1, max_size=4).map(".".join),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address.compressed}]"),
)
TOKENS = st.text(string.ascii_letters + string.digits + "_-.~", min_size=1, max_size=300)


def test_the_key_of_a_real_growi() -> None:
    parsed = parse_key(f"{GROWI_TOKEN}__grw_internal_tranferkey__http://127.0.0.1:3299")
    assert parsed.token == GROWI_TOKEN
    assert parsed.origin == "http://127.0.0.1:3299"
    assert (parsed.host, parsed.port, parsed.secure) == ("127.0.0.1", 3299, False)


@given(TOKENS, st.sampled_from(["http", "https"]), HOSTS, st.one_of(st.none(), st.integers(1, 65535)))
def test_what_is_joined_comes_apart_again(token: str, scheme: str, host: str, port: int | None) -> None:
    origin = f"{scheme}://{host}" + ("" if port is None else f":{port}")
    text = format_key(token, origin)
    parsed = parse_key(text)
    assert parsed.token == token
    assert parsed.origin == normalise_origin(origin)
    assert parsed.port == (port or (443 if scheme == "https" else 80))
    assert parsed.host == host.strip("[]")
    assert parsed.key_string == text
    assert parse_key(f"  {text}\n") == parsed


@given(st.text(max_size=200))
def test_any_text_is_a_key_or_told_to_be_none(text: str) -> None:
    for candidate in (text, f"{GROWI_TOKEN}{SEPARATOR}{text}", f"{GROWI_TOKEN}{SEPARATOR}https://{text}"):
        try:
            parsed = parse_key(candidate)
        except TransferKeyMalformed:
            continue
        assert parse_key(parsed.key_string) == parsed


@given(st.integers(0, 200))
def test_a_key_cut_anywhere_before_the_host_is_malformed(cut: int) -> None:
    text = format_key(GROWI_TOKEN, "https://wiki.example.com")
    end = min(cut, text.index("wiki"))
    with pytest.raises(TransferKeyMalformed):
        parse_key(text[:end])


@pytest.mark.parametrize(
    ("origin", "normal"),
    [
        ("HTTPS://Wiki.Example.COM", "https://wiki.example.com"),
        ("https://wiki.example.com:443/", "https://wiki.example.com"),
        ("http://wiki:80", "http://wiki"),
        ("http://wiki:443", "http://wiki:443"),
        ("http://growi_a:3000", "http://growi_a:3000"),
        ("http://[0:0:0:0:0:0:0:1]:3000", "http://[::1]:3000"),
        ("https://例え.jp", "https://xn--r8jz45g.jp"),
    ],
)
def test_origins_are_written_as_browsers_write_them(origin: str, normal: str) -> None:
    assert normalise_origin(origin) == normal


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "wiki.example.com",
        "ftp://wiki.example.com",
        "https://",
        "https:///",
        "https://:443",
        "https://wiki.example.com:",
        "https://wiki.example.com:0",
        "https://wiki.example.com:65536",
        "https://wiki.example.com:port",
        "https://user@wiki.example.com",
        "https://user:password@wiki.example.com",
        "https://wiki.example.com/growi",
        "https://wiki.example.com/?a=1",
        "https://wiki.example.com?",
        "https://wiki.example.com#",
        "https://wiki.example.com\\@evil.example",
        "https://wiki..example.com",
        "https://-.example.com",
        "https://wiki.example.com.",
        "https://wi%6bi.example.com",
        "https://[::1",
        "https://[fe80::1%25eth0]",
        "https://[v1.x]",
        "https://" + "a" * 300,
        "https://" + "例" * 80 + ".jp",
        "https://wiki\x00.example.com",
    ],
)
def test_what_is_not_an_origin(origin: str) -> None:
    with pytest.raises(TransferKeyMalformed) as caught:
        normalise_origin(origin)
    assert "password@" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("   ", "empty"),
        (GROWI_TOKEN, "not complete"),
        (f"{GROWI_TOKEN}__grw_internal_tran", "not complete"),
        (f"{GROWI_TOKEN}{SEPARATOR}", "address at its end is missing"),
        (f"{SEPARATOR}https://wiki.example.com", "beginning is missing"),
        (f"{GROWI_TOKEN}{SEPARATOR}https://wiki.\nexample.com", "line break"),
        (f"{GROWI_TOKEN}{SEPARATOR}wiki.example.com", "must begin with http"),
        (f"{GROWI_TOKEN}{SEPARATOR}{GROWI_TOKEN}{SEPARATOR}https://wiki.example.com", "must begin with http"),
        (f"a/b{SEPARATOR}https://wiki.example.com", "character"),
        ("a" * 5000, "too long"),
    ],
)
def test_the_message_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(TransferKeyMalformed) as caught:
        parse_key(text)
    assert says in caught.value.message
    assert GROWI_TOKEN not in caught.value.message
    assert not caught.value.details


def test_a_token_that_could_be_cut_elsewhere_is_refused() -> None:
    with pytest.raises(TransferKeyMalformed):
        format_key("a__grw_internal_tranferkey", "https://wiki.example.com")


def test_the_token_is_not_in_repr() -> None:
    assert GROWI_TOKEN not in repr(parse_key(format_key(GROWI_TOKEN, "https://wiki.example.com")))
