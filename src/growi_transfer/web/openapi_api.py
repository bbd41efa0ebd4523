"""The OpenAPI document of this server. Anybody may read it: it says nothing of the wiki."""

from __future__ import annotations

from functools import lru_cache

import orjson
from starlette.requests import Request
from starlette.responses import Response

from growi_transfer.protocol.wire import API
from growi_transfer.web.auth import services_of
from growi_transfer.web.openapi.document import document
from growi_transfer.web.requests import api


async def openapi(request: Request) -> Response:
    return Response(_encoded(services_of(request).version), media_type="application/json")


@lru_cache(maxsize=1)
def _encoded(version: str) -> bytes:
    return orjson.dumps(document(version))


ROUTES = [api("GET", "/openapi.json", openapi, below=API)]
