"""Builds the pushing role, and the job of each transfer."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from growi_transfer.jobs.orders import Orders
from growi_transfer.jobs.runner import Runner
from growi_transfer.ledger.base import Ledger, Role, TransferRow
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.ledger.life import Life
from growi_transfer.ledger.process import is_gone, process_name
from growi_transfer.mongo.wiki import first_admin
from growi_transfer.protocol.errors import TransferError
from growi_transfer.protocol.transfer_key import parse_key
from growi_transfer.protocol.wire import RANGE_BYTES
from growi_transfer.pusher.activity import measure
from growi_transfer.pusher.adapt import ATTACHMENTS, GROWI_MOST, MOST, VOLUMES, VOLUMES_BUDGET, Tuner
from growi_transfer.pusher.address import AllowedDestinations
from growi_transfer.pusher.attachments import AttachmentSender
from growi_transfer.pusher.bandwidth import BandwidthLimiter
from growi_transfer.pusher.excluded_pages import ExcludedPages
from growi_transfer.pusher.exporter import Exporter
from growi_transfer.pusher.freeze import Freeze
from growi_transfer.pusher.gate import Gate
from growi_transfer.pusher.growi_attachments import GrowiAttachments
from growi_transfer.pusher.growi_export import GrowiExporter
from growi_transfer.pusher.growi_peer import GrowiPeer
from growi_transfer.pusher.growi_push import GrowiPush, GrowiSetUp
from growi_transfer.pusher.in_flight import InFlight
from growi_transfer.pusher.job import PushJob, Run, setup_of
from growi_transfer.pusher.link import Link
from growi_transfer.pusher.options import accepts_file, options_of
from growi_transfer.pusher.outage import DESTINATION_AWAY, SOURCE_AWAY, Outage
from growi_transfer.pusher.outgoing import Outgoing
from growi_transfer.pusher.peer import Peer, open_peer
from growi_transfer.pusher.preflight import Preflight
from growi_transfer.pusher.push import Push, Totals
from growi_transfer.pusher.pusher import Pusher
from growi_transfer.pusher.retry import Retry
from growi_transfer.pusher.sizes import Sizes, sizes_for
from growi_transfer.pusher.source_files import SourceFiles
from growi_transfer.pusher.volumes import VolumeSender
from growi_transfer.storage.registry import copies_of
from growi_transfer.wiring.parts import Parts, now


def pusher_of(parts: Parts, orders: Orders, loopback_allowed: bool) -> tuple[Pusher, Runner[PushJob]]:
    ledger, board = parts.ledger, parts.board
    allowed = AllowedDestinations.parse(parts.settings.allowed_destinations)
    if loopback_allowed:
        allowed = AllowedDestinations.loopback()
    life = Life(Role.PUSHER, ledger, board, now)
    preflight = Preflight(
        database=parts.database,
        storage=parts.storage,
        environment=parts.environment,
        version=parts.settings.growi_version,
        instance_id=parts.instance_id,
        clock=now,
    )

    @asynccontextmanager
    async def peer_for(key_string: str, epoch: int, pace: Any = None) -> AsyncIterator[Peer]:
        async with await open_peer(parse_key(key_string), allowed=allowed, epoch=epoch, pace=pace) as peer:
            yield peer

    pusher = Pusher(
        database=parts.database,
        storage=parts.storage,
        ledger=ledger,
        board=board,
        life=life,
        preflight=preflight,
        keys=parts.files,
        open_peer=peer_for,
        owners=orders,
        growi_exporter=_growi_exporter(parts),
        receipts=parts.receipts,
        clock=now,
        freeze=Freeze(parts.database, life, now),
    )
    runner: Runner[PushJob] = Runner(
        ledger=ledger,
        steps=life,
        owner=process_name(),
        is_gone=is_gone,
        clock=now,
        sleep=asyncio.sleep,
        open_job=lambda transfer_id, epoch: _push_job(parts, life, peer_for, transfer_id, epoch),
    )
    pusher.use(runner)
    return pusher, runner


async def _overtake(ledger: Ledger, peer: Peer, transfer_id: str, epoch: int) -> None:
    """Begin above the epoch that the destination knows: a ledger that was lost begins to count anew."""
    try:
        known = (await peer.transfer(transfer_id))["held"]["epoch"]
    except (TransferError, KeyError, TypeError):
        return  # it does not know the transfer yet, or does not answer: the first request will tell
    if isinstance(known, int) and epoch <= known < 1 << 60:
        peer.epoch = known + 1
        await ledger.set_epoch(Role.PUSHER, transfer_id, known + 1)


def _retries(board: ProgressBoard, transfer_id: str, patience: float) -> tuple[Retry, Retry]:
    """How requests to the destination are tried again, and readings of the source. Both are counted together."""
    retry = Retry(asyncio.sleep, patience=patience)
    source = Retry(asyncio.sleep, patience=patience, by_kind=retry.by_kind)
    for one, code, side in ((retry, DESTINATION_AWAY, "The destination"), (source, SOURCE_AWAY, "The source")):
        outage = Outage(board, transfer_id, code, side, patience)
        one.on_away, one.on_back = outage.away, outage.back
    return retry, source


@asynccontextmanager
async def _push_job(
    parts: Parts, life: Life, peer_for: Callable[..., Any], transfer_id: str, epoch: int
) -> AsyncIterator[PushJob]:
    row = await life.get(transfer_id)
    options = options_of(row)
    key = parts.files.key(transfer_id)
    volumes, attachments = Gate(1, VOLUMES_BUDGET), Gate(1)
    to_growi = row.setup.get("dialect") == "growi"
    most = GROWI_MOST if to_growi else MOST
    tuners = Tuner(volumes, VOLUMES, options.volumes), Tuner(attachments, ATTACHMENTS, options.attachments, most=most)
    sizes = sizes_for(row.facts.get("limits", {}))
    bandwidth = BandwidthLimiter(options.bandwidth)
    retry, source = _retries(parts.board, transfer_id, options.patience)
    in_flight = InFlight()
    async with peer_for(key or "", epoch, bandwidth) as peer:
        push: Run
        if to_growi:
            push = await _growi_push(parts, life, peer, row, retry, attachments, tuners[1], in_flight)
        else:
            await _overtake(parts.ledger, peer, transfer_id, epoch)
            push = _native_push(
                parts, life, peer, row, retry, source, volumes, attachments, bandwidth, tuners, sizes, in_flight
            )
        measuring = asyncio.ensure_future(
            measure(parts.board, transfer_id, volumes, attachments, retry.by_kind, in_flight, asyncio.sleep)
        )
        try:
            yield PushJob(push, *tuners, bandwidth, source=source, look=lambda: life.get(transfer_id))
        finally:
            measuring.cancel()
            await asyncio.gather(measuring, return_exceptions=True)


def _native_push(
    parts: Parts,
    life: Life,
    peer: Peer,
    row: TransferRow,
    retry: Retry,
    source: Retry,
    volumes: Gate,
    attachments: Gate,
    bandwidth: BandwidthLimiter,
    tuners: tuple[Tuner, Tuner],
    sizes: Sizes,
    in_flight: InFlight,
) -> Push:
    options, setup, transfer_id = options_of(row), setup_of(row), row.id
    send = VolumeSender(
        transfer_id=transfer_id,
        ledger=parts.ledger,
        board=parts.board,
        peer=peer,
        retry=retry,
        link=Link(options.deflate, lambda: volumes.in_flight, lambda: bandwidth.rate),
        size=sizes.volume,
        tuner=tuners[0],
        in_flight=in_flight,
    )
    outgoing = Outgoing(ledger=parts.ledger, transfer_id=transfer_id, gate=volumes, send=send, size=sizes.volume)
    return Push(
        transfer_id=transfer_id,
        setup=setup,
        receipts=parts.receipts,
        options=options,
        life=life,
        ledger=parts.ledger,
        board=parts.board,
        peer=peer,
        retry=retry,
        exporter=lambda declare: Exporter(
            database=parts.database,
            ledger=parts.ledger,
            transfer_id=transfer_id,
            excluded=setup.excluded_collections,
            declare=declare,
            outgoing=outgoing,
            range_bytes=RANGE_BYTES,
            note=lambda noted: parts.board.apply(Role.PUSHER, transfer_id, noted),
        ),
        sender=AttachmentSender(
            database=parts.database,
            storage=parts.storage,
            ledger=parts.ledger,
            board=parts.board,
            peer=peer,
            retry=retry,
            source=source,
            gate=attachments,
            tuner=tuners[1],
            sizes=sizes,
            transfer_id=transfer_id,
            accepts=lambda code: accepts_file(options, code),
            in_flight=in_flight,
            exclude_paths=setup.excluded_paths,
            copies=copies_of(parts.storage),
        ),
        totals=Totals(**row.facts.get("totals", {})),
        marker=lambda: secrets.token_hex(6),
        is_replica_set=parts.database.is_replica_set,
        freeze=Freeze(parts.database, life, now),
    )


async def _growi_push(
    parts: Parts,
    life: Life,
    peer: Peer,
    row: TransferRow,
    retry: Retry,
    attachments: Gate,
    tuner: Tuner,
    in_flight: InFlight,
) -> GrowiPush:
    """To an unmodified GROWI."""
    options, setup = options_of(row), setup_of(row)
    growi = GrowiPeer(peer)
    return GrowiPush(
        transfer_id=row.id,
        setup=GrowiSetUp(
            operator=await first_admin(parts.database) or "",
            upload_configs=setup.upload_settings,
            exclude_collections=setup.excluded_collections,
        ),
        life=life,
        ledger=parts.ledger,
        board=parts.board,
        peer=growi,
        retry=retry,
        exporter=_growi_exporter(parts),
        sender=GrowiAttachments(
            database=parts.database,
            storage=parts.storage,
            ledger=parts.ledger,
            board=parts.board,
            peer=growi,
            retry=retry,
            gate=attachments,
            tuner=tuner,
            sources=SourceFiles(
                parts.database,
                parts.storage,
                parts.ledger,
                row.id,
                ExcludedPages(parts.database, setup.excluded_paths),
            ),
            transfer_id=row.id,
            accepts=lambda code: accepts_file(options, code),
            in_flight=in_flight,
        ),
        spool=parts.settings.data_dir / "spool",
    )


def _growi_exporter(parts: Parts) -> GrowiExporter:
    return GrowiExporter(
        database=parts.database,
        environment=parts.environment,
        version=parts.settings.growi_version,
        clock=now,
    )
