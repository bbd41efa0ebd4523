"""What one process may have another one do."""

from __future__ import annotations

from growi_transfer.jobs.orders import PUSHER_ORDERS
from growi_transfer.pusher.steering import Steering


def test_every_step_that_the_owner_takes_can_be_ordered() -> None:
    wrapped = {name for name, step in vars(Steering).items() if hasattr(step, "__wrapped__")}
    taken_by_owner = {name for name in wrapped if not name.startswith("_")}
    assert taken_by_owner == set(PUSHER_ORDERS)
