"""Which options of a push an unmodified GROWI can be given: it has no staging, and takes an archive at once."""

from __future__ import annotations

from growi_transfer.protocol.errors import Incompatible, SettingInvalid
from growi_transfer.pusher.options import PushOptions


def refuse_for_growi(options: PushOptions, version: str | None) -> None:
    """Raises Incompatible naming the first option that needs growi-transfer over there, and SettingInvalid without a
    version, because a GROWI takes only an archive of its own."""
    needs = (
        ("--no-commit", not options.commit),
        ("--merge", options.merge is not None),
        ("--follow", options.follow),
        ("--freeze", options.freeze),
        ("--deep", options.deep),
        ("--attachments-first", options.attachments_first),
    )
    for flag, is_set in needs:
        if is_set:
            raise Incompatible(f"The destination is a GROWI without growi-transfer, which {flag} needs.", option=flag)
    if version is None:
        raise SettingInvalid(
            "A GROWI takes only an archive of its own version: set GROWI_VERSION.", setting="GROWI_VERSION"
        )
