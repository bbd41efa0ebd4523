"""How sizes of bodies follow what the line takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from growi_transfer.protocol.errors import PeerRefused, PeerUnavailable, TransferError
from growi_transfer.pusher.sizes import Size, is_doubtful, sizes_for

TOO_LARGE = PeerRefused("", code="body_too_large", status=413)
TIMEOUT = PeerRefused("", code="x", status=504, retryable=True)


def test_what_was_refused_as_too_large_is_never_asked_for_again() -> None:
    size = Size(8 << 20, 512 << 10)
    size.failed(8 << 20, TOO_LARGE)
    size.failed(8 << 20, TOO_LARGE)  # was in flight with it
    assert size.current == 4 << 20
    for _ in range(1000):
        size.succeeded(size.current)
    assert size.current == 4 << 20


def test_there_is_no_floor_for_what_is_too_large() -> None:
    size = Size(8 << 20, 512 << 10)
    while size.current > 1:
        size.failed(size.current, TOO_LARGE)
    size.failed(1, TOO_LARGE)
    assert size.current == 1


def test_other_failures_halve_it_to_the_floor_and_it_grows_back() -> None:
    size = Size(8 << 20, 512 << 10)
    for _ in range(10):
        size.failed(size.current, TIMEOUT)
    assert size.current == 512 << 10
    sent = 0
    while size.current < 8 << 20:
        sent += 1
        size.succeeded(size.current)
        assert sent < 100
    assert sent == 64


def test_an_outage_of_many_bodies_halves_it_once() -> None:
    size = Size(8 << 20, 512 << 10)
    for _ in range(20):
        size.failed(8 << 20, TIMEOUT)
    assert size.current == 4 << 20


def test_small_bodies_say_nothing_about_large_ones() -> None:
    size = Size(8 << 20, 512 << 10)
    size.failed(10_000, TIMEOUT)
    assert size.current == 8 << 20
    size.failed(8 << 20, TIMEOUT)
    for _ in range(100):
        size.succeeded(10_000)
    assert size.current == 4 << 20


def test_a_server_that_was_not_reached_says_nothing_about_sizes() -> None:
    assert is_doubtful(PeerUnavailable())
    assert not is_doubtful(PeerUnavailable(reached=False))
    assert not is_doubtful(PeerRefused("", code="x", status=503, retryable=True))


@given(
    st.integers(1, 1 << 30),
    st.integers(1, 1 << 30),
    st.lists(st.tuples(st.integers(0, 1 << 31), st.sampled_from([TOO_LARGE, TIMEOUT, None])), max_size=100),
)
def test_it_stays_in_its_bounds(most: int, least: int, happened: list[tuple[int, TransferError | None]]) -> None:
    size = Size(most, least)
    for bytes_, error in happened:
        size.failed(bytes_, error) if error is not None else size.succeeded(bytes_)
        assert 1 <= size.current <= most


def test_announced_limits_hold_from_the_start() -> None:
    usual = sizes_for({})
    assert (usual.volume.current, usual.bundle.current, usual.chunk.current) == (8 << 20, 8 << 20, 256 << 20)
    small = sizes_for({"volume_bytes": 3 << 20, "bundle_bytes": 1 << 20, "bundle_files": 7, "chunk_bytes": 1000})
    assert (small.volume.current, small.bundle.current, small.bundle_files) == (1 << 20, 512 << 10, 7)
    assert small.chunk.current == 1000
    nothing = sizes_for(dict.fromkeys(("volume_bytes", "bundle_bytes", "bundle_files", "chunk_bytes"), 0))
    assert nothing.bundle_files == nothing.volume.current == nothing.chunk.current == 1
