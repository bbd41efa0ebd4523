"""The receiving side for an unmodified GROWI, as one object: what its two routes call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from growi_transfer.receiver.growi.files import GrowiFiles, parse_metadata
from growi_transfer.receiver.growi.intake import GrowiIntake
from growi_transfer.receiver.growi.request import parse_fields
from growi_transfer.receiver.in_flight import InFlight


class GrowiSide:
    def __init__(self, intake: GrowiIntake, files: GrowiFiles, in_flight: InFlight) -> None:
        self._intake = intake
        self._files = files
        self._in_flight = in_flight

    async def import_archive(self, key_id: str, fields: Mapping[str, str], archive: Path | None) -> dict[str, Any]:
        """`POST /`. Raises as `GrowiIntake.run`, GrowiParseFailed, and TransferDataInvalid without an archive."""
        return await self._intake.run(key_id, archive, parse_fields(fields))

    async def put_attachment(self, key_id: str, fields: Mapping[str, str], content: Path | None, size: int) -> None:
        """`POST /attachment`. Raises as `GrowiFiles.put`, GrowiParseFailed and MetadataInvalid."""
        metadata = parse_metadata(fields.get("attachmentMetadata"))
        while (transfer_id := await self._intake.transfer_of(key_id)) is not None:
            async with self._in_flight.of(transfer_id):
                # A rollback that began meanwhile waits for nobody who comes now.
                if await self._intake.transfer_of(key_id) == transfer_id:
                    await self._files.put(transfer_id, metadata, content, size)
                    return
        await self._files.put(None, metadata, content, size)
