"""The commit: every step is written into a journal before it is done, and may be done again.

Preset `replace`, in order: views of the destination go, collections are swapped by UUID, views of the source come,
TTL indexes become TTL again, GROWI's rules are applied, files that waited aside take their places. Preset `merge`: see
`receiver.merge.steps`. A crash at any point leaves a journal from which `run` finishes, or `undo` goes back. After the
commit the journal stays: it is the way to roll back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from growi_transfer.ledger.base import CollectionRow, JournalRow, Ledger, Role
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.mongo import collections as catalog
from growi_transfer.mongo.client import Database
from growi_transfer.mongo.swap import Swap, swap_in, swap_out
from growi_transfer.protocol.errors import CommitFailed, NotRestorable
from growi_transfer.protocol.names import OWN_PREFIX, former_name, is_operating_state
from growi_transfer.protocol.progress import Noted
from growi_transfer.receiver.file_swap import FileSwap
from growi_transfer.receiver.growi.apply import GrowiApplier
from growi_transfer.receiver.merge.merger import Merger
from growi_transfer.receiver.merge.steps import check_unchanged, merge_steps
from growi_transfer.receiver.rules import Rules
from growi_transfer.receiver.step_kinds import (
    CREATE_VIEW,
    DROP_VIEW,
    FILES,
    MERGED,
    RULES,
    SWAP,
    TIDY,
    TTL,
    UNCHANGED,
)

__all__ = ["FILES", "SWAP", "Committer"]


class Committer:
    """Commits, undoes and rolls back one transfer at a time."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        files: FileSwap,
        rules: Rules,
        board: ProgressBoard,
        merger: Merger,
        growi: GrowiApplier,
    ) -> None:
        self._merger = merger
        self._growi = growi
        self._database = database
        self._ledger = ledger
        self._files = files
        self._rules = rules
        self._board = board

    async def prepare(self, transfer_id: str, setup: Mapping[str, Any]) -> None:
        """Write the whole journal. Nothing of the destination has changed when this returns."""
        await self._ledger.clear_journal(transfer_id)
        rows = await self._ledger.collections(Role.RECEIVER, transfer_id)
        excluded = set(setup.get("excluded_collections", ()))
        entries = {entry["name"]: entry for entry in await catalog.list_entries(self._database)}
        if setup.get("preset") == "merge":
            outcome = await self._merger.prepare(transfer_id, setup)
            await self._write_journal(transfer_id, await merge_steps(self._database, transfer_id, rows, outcome))
            return
        if setup.get("preset") == "growi":
            await self._write_journal(transfer_id, await self._growi.prepare(transfer_id, setup))
            return
        steps: list[tuple[str, dict[str, Any]]] = []
        steps += _view_drops(entries, excluded)
        steps += _swaps(transfer_id, rows, entries, excluded)
        steps += [(CREATE_VIEW, {"name": row.name, "metadata": row.metadata}) for row in rows if row.kind == "view"]
        for row in rows:
            _, ttl = catalog.split_ttl(catalog.secondary_indexes(catalog.from_metadata(row.metadata)))
            steps += [(TTL, {"collection": row.name, "index": index, "seconds": ttl[index]}) for index in ttl]
        steps.append((RULES, await self._rules.plan({row.name: row.staging for row in rows if row.staging}, setup)))
        steps.append((FILES, {}))
        await self._write_journal(transfer_id, steps)

    async def _write_journal(self, transfer_id: str, steps: Sequence[tuple[str, dict[str, Any]]]) -> None:
        await self._ledger.append_journal(
            [JournalRow(transfer_id, number, kind, payload) for number, (kind, payload) in enumerate(steps)]
        )

    async def kept(self, transfer_id: str) -> list[dict[str, str]]:
        """The former collections that are kept for a rollback: `{collection, kept_as}`."""
        now = await catalog.uuids(self._database)
        swaps = [
            Swap(**_swap_fields(step.payload)) for step in await self._ledger.journal(transfer_id) if step.kind == SWAP
        ]
        return [
            {"collection": swap.live, "kept_as": swap.former}
            for swap in swaps
            if swap.live_uuid and now.get(swap.former) == swap.live_uuid
        ]

    async def run(self, transfer_id: str) -> dict[str, Any]:
        """Do every step that is not done. Returns what the operator is told: strays, rewritten, rescue, files."""
        told: dict[str, Any] = {"strays": [], "files_replaced": 0, "rewritten": [], "rescue": []}
        journal = await self._ledger.journal(transfer_id)
        if not journal:
            raise CommitFailed("The journal of this commit is gone, so nothing was swapped in.")
        for step in journal:
            if step.kind == RULES:
                told["rewritten"], told["rescue"] = step.payload["rewritten"], step.payload["rescue"]
            if step.kind == MERGED:
                told["merge"] = step.payload["report"]
            if step.done:
                told["strays"] += step.payload.get("strays", [])
                told["files_replaced"] += int(step.payload.get("replaced", 0))
                continue
            result = await self._do(transfer_id, step)
            self._note(transfer_id, "commit_step", step)
            told["strays"] += result.get("strays", [])
            told["files_replaced"] += int(result.get("replaced", 0))
            await self._ledger.mark_done(transfer_id, step.number, {**step.payload, **result})
        return told

    async def _do(self, transfer_id: str, step: JournalRow) -> dict[str, Any]:
        payload = step.payload
        if step.kind == DROP_VIEW:
            await self._drop_view(payload["name"])
        elif step.kind == SWAP:
            strays = await swap_in(self._database, Swap(**_swap_fields(payload)))
            return {"strays": strays} if strays else {}
        elif step.kind == CREATE_VIEW:
            await self._create_view(payload["name"], payload["metadata"])
        elif step.kind == TTL:
            await catalog.set_ttl(self._database, payload["collection"], payload["index"], payload["seconds"])
        elif step.kind == RULES:
            await self._rules.apply(payload)
        elif step.kind == FILES:
            return {"replaced": await self._files.commit(transfer_id)}
        elif step.kind == UNCHANGED:
            await check_unchanged(self._database, payload["formers"])
        elif step.kind == TIDY:
            await self._files.drop_unwanted(transfer_id)
            for name in payload["collections"]:
                await catalog.drop(self._database, name)
        return {}

    def _note(self, transfer_id: str, name: str, step: JournalRow) -> None:
        of = next((str(step.payload[key]) for key in ("live", "name", "collection") if step.payload.get(key)), "")
        text = f"{name.replace('_', ' ')} {step.number + 1}: {step.kind.replace('_', ' ')} {of}".rstrip()
        details = {"number": step.number + 1, "kind": step.kind, "of": of}
        self._board.apply(Role.RECEIVER, transfer_id, Noted(name, text, details))

    async def undo(self, transfer_id: str) -> None:
        """Back to `ready`: the destination shows its former data, staging is as it was verified.

        The journal stays until the next `prepare`: a crash on the way finds all of it again.
        """
        journal = await self._ledger.journal(transfer_id)
        now = await catalog.uuids(self._database)
        # Where an earlier undo got as far as the swaps, the live names are those of the former collections again.
        swaps = [Swap(**_swap_fields(step.payload)) for step in journal if step.kind == SWAP]
        swapped = {swap.live for swap in swaps if swap.staging and now.get(swap.live) == swap.staging_uuid}
        for step in reversed(journal):
            if step.kind == FILES:
                await self._files.undo(transfer_id)
            elif step.kind == RULES:
                await self._rules.undo(step.payload, swapped)
            elif step.kind == TTL:
                if step.payload["collection"] in swapped:
                    await self._plain_index(transfer_id, step.payload)
            else:
                await self._step_back(step)
            self._note(transfer_id, "undo_step", step)

    async def rollback(self, transfer_id: str, *, begun: bool) -> None:
        """After a commit: the former data come back, what was imported goes to staging names again. `begun`: an
        earlier call was interrupted, and this one goes on.

        Raises NotRestorable, before anything is changed, when something of the former data is gone.
        """
        journal = await self._ledger.journal(transfer_id)
        if not journal:
            raise NotRestorable()
        now = await catalog.uuids(self._database)
        for step in journal:
            if step.kind != SWAP:
                continue
            swap = Swap(**_swap_fields(step.payload))
            if swap.live_uuid and swap.live_uuid not in (now.get(swap.former), now.get(swap.live)):
                raise NotRestorable(f"The former collection {swap.live} is no longer kept.", collection=swap.live)
            if swap.staging and swap.staging_uuid not in (now.get(swap.live), now.get(swap.staging)):
                raise NotRestorable(
                    f"The collection {swap.live} is not the one that this transfer brought; "
                    "a later transfer or another tool has replaced it.",
                    collection=swap.live,
                )
        if not begun:
            await self._files.check_restorable(transfer_id)
        # What the transfer brought goes: rules and TTL in it need no way back, and whatever an admin did to it since
        # must not stand in the way of the former data.
        for step in reversed(journal):
            if step.kind == FILES:
                await self._files.restore(transfer_id)
            else:
                await self._step_back(step)
            self._note(transfer_id, "undo_step", step)

    async def _step_back(self, step: JournalRow) -> None:
        if step.kind == CREATE_VIEW:
            await self._drop_view(step.payload["name"])
        elif step.kind == SWAP:
            await swap_out(self._database, Swap(**_swap_fields(step.payload)))
        elif step.kind == DROP_VIEW:
            await self._create_view(step.payload["name"], step.payload["metadata"])

    async def _plain_index(self, transfer_id: str, payload: Mapping[str, Any]) -> None:
        """A TTL index would delete from what goes back to staging; there is no way to make it plain but anew."""
        name = payload["collection"]
        rows = {row.name: row for row in await self._ledger.collections(Role.RECEIVER, transfer_id)}
        metadata = catalog.from_metadata(payload.get("metadata") or rows[name].metadata)
        plain, _ = catalog.split_ttl(catalog.secondary_indexes(metadata))
        present = {index["name"]: index for index in await catalog.list_indexes(self._database, name)}
        [wanted] = [index for index in plain if index["name"] == payload["index"]]
        if present.get(wanted["name"]) not in (None, wanted):
            await self._database.command({"dropIndexes": name, "index": payload["index"]})
        await catalog.create_indexes(self._database, name, [wanted])

    async def _drop_view(self, name: str) -> None:
        if (await catalog.uuids(self._database)).get(name) == "":
            await catalog.drop(self._database, name)

    async def _create_view(self, name: str, metadata: str) -> None:
        if name not in await catalog.uuids(self._database):
            await catalog.create_collection(self._database, name, catalog.from_metadata(metadata))

    async def release_maintenance(self) -> None:
        """End the maintenance mode that the commit left on."""
        await self._rules.release_maintenance()

    async def purge(self, transfer_id: str) -> None:
        """Drop every collection and file that was kept for this transfer: staging, former, strays."""
        prefixes = (f"{OWN_PREFIX}s_{transfer_id[:8]}_", f"{OWN_PREFIX}f_{transfer_id[:8]}_")
        for name in await catalog.uuids(self._database):
            if name.startswith(prefixes):
                await catalog.drop(self._database, name)
        await self._files.purge(transfer_id)
        await self._ledger.clear_journal(transfer_id)


def _swap_fields(payload: Mapping[str, Any]) -> dict[str, str]:
    return {name: payload[name] for name in ("live", "live_uuid", "staging", "staging_uuid", "former")}


def _is_replaced(name: str, excluded: set[str]) -> bool:
    return name not in excluded and not is_operating_state(name)


def _view_drops(entries: Mapping[str, Mapping[str, Any]], excluded: set[str]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (DROP_VIEW, {"name": name, "metadata": catalog.to_metadata(entry.get("options", {}), ())})
        for name, entry in entries.items()
        if entry.get("type") == "view" and _is_replaced(name, excluded)
    ]


def _swaps(
    transfer_id: str,
    rows: list[CollectionRow],
    entries: Mapping[str, Mapping[str, Any]],
    excluded: set[str],
) -> list[tuple[str, dict[str, Any]]]:
    """Swaps of what the source has; what only the destination has goes aside, because everything is replaced."""
    steps: list[tuple[str, dict[str, Any]]] = []
    names = {row.name for row in rows if row.staging}
    for row in rows:
        if not row.staging:
            continue
        if row.staging not in entries:
            raise CommitFailed(f"The staged copy of {row.name} is gone.", collection=row.name)
        swap = Swap(
            live=row.name,
            live_uuid=catalog.uuid_of(entries.get(row.name, {})),
            staging=row.staging,
            staging_uuid=catalog.uuid_of(entries[row.staging]),
            former=former_name(transfer_id, row.number),
        )
        steps.append((SWAP, asdict(swap)))
    free = max((row.number for row in rows), default=-1) + 1
    for name, entry in sorted(entries.items()):
        if name in names or not _is_replaced(name, excluded) or entry.get("type") != "collection":
            continue
        swap = Swap(
            live=name,
            live_uuid=catalog.uuid_of(entry),
            staging="",
            staging_uuid="",
            former=former_name(transfer_id, free),
        )
        free += 1
        steps.append((SWAP, asdict(swap)))
    return steps
