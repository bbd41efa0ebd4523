"""A peer's answer as a shape, or the error for one that is not of that shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import orjson

from growi_transfer.protocol.errors import InvalidRequest, JsonInvalid
from growi_transfer.protocol.wire import Shape, parse
from growi_transfer.pusher.refusal import invalid_answer

S = TypeVar("S", bound=Shape)


def checked(shape: type[S], answer: Mapping[str, Any], origin: str) -> S:
    """Raises PeerRefused with the code `peer_answer_invalid`, which names the first wrong field."""
    try:
        return parse(shape, orjson.dumps(answer))
    except (InvalidRequest, JsonInvalid) as error:
        reason = error.message
    except (TypeError, ValueError):  # more digits or levels than JSON is written with
        reason = "it cannot be read."
    raise invalid_answer(reason, origin)
