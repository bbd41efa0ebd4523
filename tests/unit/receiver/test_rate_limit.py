from __future__ import annotations

import pytest

from growi_transfer.protocol.errors import RateLimited
from growi_transfer.receiver.rate_limit import FailureLimiter


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def fail(limiter: FailureLimiter, address: str, times: int) -> None:
    for _ in range(times):
        limiter.check(address)
        limiter.failed(address)


def test_an_address_is_refused_after_its_failures(clock: Clock) -> None:
    limiter = FailureLimiter(clock, limit=3, window=60)
    fail(limiter, "192.0.2.1", 3)
    with pytest.raises(RateLimited) as caught:
        limiter.check("192.0.2.1")
    assert caught.value.details == {"retry_after": 60}
    limiter.check("192.0.2.2")


def test_the_window_slides(clock: Clock) -> None:
    limiter = FailureLimiter(clock, limit=2, window=60)
    fail(limiter, "192.0.2.1", 1)
    clock.now += 30
    fail(limiter, "192.0.2.1", 1)
    clock.now += 29.5
    with pytest.raises(RateLimited) as caught:
        limiter.check("192.0.2.1")
    assert caught.value.details == {"retry_after": 1}
    clock.now += 0.5
    limiter.check("192.0.2.1")
    fail(limiter, "192.0.2.1", 1)
    with pytest.raises(RateLimited):
        limiter.check("192.0.2.1")


def test_being_refused_does_not_prolong_the_refusal(clock: Clock) -> None:
    limiter = FailureLimiter(clock, limit=2, window=60)
    fail(limiter, "192.0.2.1", 2)
    for _ in range(59):
        clock.now += 1
        with pytest.raises(RateLimited):
            limiter.check("192.0.2.1")
    clock.now += 1
    limiter.check("192.0.2.1")


def test_memory_is_bounded_and_the_oldest_is_forgotten(clock: Clock) -> None:
    limiter = FailureLimiter(clock, limit=1, addresses=100)
    for number in range(1000):
        limiter.failed(f"10.0.{number // 250}.{number % 250}")
    assert len(limiter) == 100
    limiter.check("10.0.0.0")
    with pytest.raises(RateLimited):
        limiter.check("10.0.3.249")


def test_addresses_without_recent_failures_are_forgotten(clock: Clock) -> None:
    limiter = FailureLimiter(clock, limit=1, window=60)
    limiter.failed("192.0.2.1")
    clock.now += 60
    limiter.check("192.0.2.1")
    assert len(limiter) == 0


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("testclient", "testclient"),
    ],
)
def test_addresses_of_one_customer_count_together(clock: Clock, first: str, second: str) -> None:
    limiter = FailureLimiter(clock, limit=2)
    limiter.failed(first)
    limiter.failed(second)
    with pytest.raises(RateLimited):
        limiter.check(first)


def test_another_ipv6_network_counts_alone(clock: Clock) -> None:
    limiter = FailureLimiter(clock, limit=1)
    limiter.failed("2001:db8:0:1::1")
    limiter.check("2001:db8:0:2::1")
