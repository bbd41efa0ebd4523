"""Operations on the server itself."""

from __future__ import annotations

from growi_transfer.protocol.wire import API, PREFIX
from growi_transfer.web.openapi.operation import OBJECT, TEXT, Operation, listing, of

TAG = "server"
_SERVER = of(version=TEXT, roles=listing(TEXT))

OPERATIONS = [
    Operation(
        "GET", PREFIX + "/server", "Version and roles", "admin", TAG, {200: of(version=TEXT, roles=listing(TEXT))}
    ),
    Operation(
        "GET", PREFIX + "/instance", "What this wiki is", "admin", TAG, {200: of(instance=OBJECT)}, errors=(404,)
    ),
    Operation("GET", "/healthz", "The process answers", "anybody", TAG, {200: of(status=TEXT)}),
    Operation("GET", "/readyz", "Its database answers, too", "anybody", TAG, {200: of(status=TEXT)}),
    Operation("GET", "/metrics", "Numbers for Prometheus", "metrics", TAG, {200: {}}, media="text/plain"),
    Operation("GET", API + "/openapi.json", "This document", "anybody", TAG, {200: OBJECT}),
]
