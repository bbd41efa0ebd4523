"""The receiving side for an unmodified GROWI, as one object: what its two routes call."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from growi_transfer.ledger.grouped import Grouped
from growi_transfer.protocol.errors import MetadataInvalid
from growi_transfer.receiver.growi.files import Arrival, GrowiFiles, parse_metadata
from growi_transfer.receiver.growi.intake import GrowiIntake
from growi_transfer.receiver.growi.request import parse_fields
from growi_transfer.receiver.in_flight import InFlight

_GROUP = 64


class GrowiSide:
    """Files that come at the same time are stored together: a GROWI sends each in a request of its own, and a look at
    the wiki, two durable rows and a sync for each of them took four times as long."""

    def __init__(self, intake: GrowiIntake, files: GrowiFiles, in_flight: InFlight) -> None:
        self._intake = intake
        self._files = files
        self._in_flight = in_flight
        self._small: Grouped[tuple[str, Arrival]] = Grouped(self._put_group, _GROUP)

    @property
    def max_file_size(self) -> int | None:
        """GROWI's MAX_FILE_SIZE in bytes; None for no limit."""
        return self._files.max_file_size

    async def import_archive(self, key_id: str, fields: Mapping[str, str], archive: Path | None) -> dict[str, Any]:
        """`POST /`. Raises as `GrowiIntake.run`, GrowiParseFailed, and TransferDataInvalid without an archive."""
        return await self._intake.run(key_id, archive, parse_fields(fields))

    async def put_attachment(
        self, key_id: str, fields: Mapping[str, str], content: bytes | Path | None, size: int
    ) -> None:
        """`POST /attachment`: `content` in memory or in a file. Raises the errors of `GrowiFiles.put`,
        GrowiParseFailed and MetadataInvalid."""
        metadata = parse_metadata(fields.get("attachmentMetadata"))
        if content is None:
            raise MetadataInvalid("The form has no file.")
        arrival = Arrival(metadata, content, size)
        if isinstance(content, bytes):
            await self._small.put((key_id, arrival))
            return
        [error] = await self._put(key_id, [arrival])  # alone: it would hold the small ones up
        if error is not None:
            raise error

    async def _put_group(self, group: Sequence[tuple[str, Arrival]]) -> Sequence[Exception | None]:
        results: list[Exception | None] = [None] * len(group)
        by_key: defaultdict[str, list[int]] = defaultdict(list)
        for index, (key_id, _) in enumerate(group):
            by_key[key_id].append(index)
        for key_id, indexes in by_key.items():
            try:
                errors = await self._put(key_id, [group[index][1] for index in indexes])
            except Exception as error:  # noqa: BLE001 (it is told to those who sent these)
                errors = [error] * len(indexes)
            for index, one in zip(indexes, errors, strict=True):
                results[index] = one
        return results

    async def _put(self, key_id: str, arrivals: Sequence[Arrival]) -> list[Exception | None]:
        while True:
            transfer_id = self._intake.latest_of(key_id) or await self._intake.transfer_of(key_id)
            if transfer_id is None:
                return await self._files.put(None, arrivals)
            async with self._in_flight.of(transfer_id):
                # A rollback that began meanwhile waits for nobody who comes now.
                if await self._intake.transfer_of(key_id) == transfer_id:
                    return await self._files.put(transfer_id, arrivals)
