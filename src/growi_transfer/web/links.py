"""Signed links to the file of an export: whoever has one may download that file, and nothing else, until it ends."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from itsdangerous import BadData, URLSafeSerializer
from starlette.requests import HTTPConnection

from growi_transfer.protocol.errors import LinkInvalid
from growi_transfer.protocol.job_shapes import Download, JobView
from growi_transfer.protocol.wire import API
from growi_transfer.web.auth import Sha512Signer, services_of

PARAMETER = "link"
_PURPOSE = "growi-transfer/download-link/1"
_TOKEN_LIMIT = 1000


class DownloadLinks:
    """Makes and checks links; a server started anew with the same secrets takes them too."""

    def __init__(self, connection: HTTPConnection) -> None:
        services = services_of(connection)
        self._now: datetime = services.clock()
        self._life = timedelta(seconds=services.limits.link_seconds)
        self._serializer = URLSafeSerializer(list(services.session_secrets), salt=_PURPOSE, signer=Sha512Signer)

    def with_link(self, view: JobView) -> JobView:
        """The job with a fresh link, if it has a file."""
        if view.file is None or not view.file.here:
            return view
        ends = self._now + self._life
        if view.file.expires_at is not None:
            ends = min(ends, datetime.fromisoformat(view.file.expires_at))
        token = self._serializer.dumps({"j": view.id, "e": int(ends.timestamp())})
        url = f"{API}/export-jobs/{view.id}/download?{urlencode({PARAMETER: str(token)})}"
        return view.model_copy(update={"download": Download(url=url, expires_at=ends.isoformat())})

    def check(self, token: str, job_id: str) -> None:
        """Raises LinkInvalid unless this is a link to the file of this job that has not ended."""
        try:
            payload: Any = self._serializer.loads(token) if len(token) <= _TOKEN_LIMIT else None
        except BadData:
            payload = None
        if (
            not isinstance(payload, dict)
            or payload.get("j") != job_id
            or not isinstance(payload.get("e"), int)
            or payload["e"] < self._now.timestamp()
        ):
            raise LinkInvalid()
