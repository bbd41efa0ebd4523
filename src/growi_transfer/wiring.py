"""The composition root: settings in, services out. The only place that names the concrete classes."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from bson import ObjectId

from growi_transfer import __version__
from growi_transfer.jobs.orders import PUSHER_ORDERS, RECEIVER_ORDERS, Orders
from growi_transfer.jobs.recheck import Recheck
from growi_transfer.jobs.retention import purge_hourly
from growi_transfer.jobs.runner import Runner
from growi_transfer.ledger.base import Ledger, Role, TransferRow
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.ledger.life import Life
from growi_transfer.ledger.log import TransferLog
from growi_transfer.ledger.mongo import MongoLedger
from growi_transfer.ledger.process import is_gone, process_name
from growi_transfer.mongo.client import Database, open_database
from growi_transfer.mongo.embedded import EmbeddedMongod, uri_of_running
from growi_transfer.mongo.wiki import first_admin, read_configs
from growi_transfer.protocol.errors import FolderInUse, SettingInvalid, StorageNotConfigured, TransferError
from growi_transfer.protocol.growi_config import InstanceConfig, merge
from growi_transfer.protocol.receipt import Side, Signer
from growi_transfer.protocol.transfer_key import parse_key
from growi_transfer.protocol.wire import RANGE_BYTES
from growi_transfer.pusher.activity import measure
from growi_transfer.pusher.adapt import ATTACHMENTS, VOLUMES, VOLUMES_BUDGET, Tuner
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
from growi_transfer.pusher.job import PushJob, Run, setup_of
from growi_transfer.pusher.link import Link
from growi_transfer.pusher.options import accepts_file, options_of
from growi_transfer.pusher.outage import DESTINATION_AWAY, SOURCE_AWAY, Outage
from growi_transfer.pusher.outgoing import Outgoing
from growi_transfer.pusher.peer import Peer, open_peer
from growi_transfer.pusher.preflight import Preflight
from growi_transfer.pusher.push import Push, Totals
from growi_transfer.pusher.pusher import Pusher
from growi_transfer.pusher.receipts import Receipts as SentReceipts
from growi_transfer.pusher.retry import Retry
from growi_transfer.pusher.sizes import Sizes, sizes_for
from growi_transfer.pusher.source_files import SourceFiles
from growi_transfer.pusher.volumes import VolumeSender
from growi_transfer.receiver.attachments import Attachments
from growi_transfer.receiver.commit import Committer
from growi_transfer.receiver.endings import Endings
from growi_transfer.receiver.file_names import FileNames
from growi_transfer.receiver.file_proof import FileProof
from growi_transfer.receiver.file_swap import FileSwap
from growi_transfer.receiver.growi.apply import GrowiApplier
from growi_transfer.receiver.growi.files import GrowiFiles
from growi_transfer.receiver.growi.intake import GrowiIntake
from growi_transfer.receiver.growi.side import GrowiSide
from growi_transfer.receiver.importer import Importer
from growi_transfer.receiver.in_flight import InFlight
from growi_transfer.receiver.info import InstanceInfo
from growi_transfer.receiver.keys import Keys
from growi_transfer.receiver.merge.merger import Merger
from growi_transfer.receiver.proof import Prover
from growi_transfer.receiver.receipts import Receipts
from growi_transfer.receiver.receiver import Receiver
from growi_transfer.receiver.rules import Rules
from growi_transfer.receiver.staging_proof import StagingProof
from growi_transfer.receiver.transfers import Transfers
from growi_transfer.receiver.uploads import Uploads
from growi_transfer.receiver.work import Work
from growi_transfer.secret_files import SecretFiles
from growi_transfer.settings import Settings
from growi_transfer.storage.base import Storage
from growi_transfer.storage.registry import open_storage
from growi_transfer.storage.unconfigured import UnconfiguredStorage

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Services:
    """What runs in one process. A role that was not asked for is None."""

    database: Database
    storage: Storage
    ledger: Ledger
    board: ProgressBoard
    keys: Keys
    orders: Orders
    recheck: Recheck
    data_dir: Path
    receiver: Receiver | None
    growi: GrowiSide | None
    pusher: Pusher | None


def _now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def open_services(
    settings: Settings, *, role: str, loopback_allowed: bool = False, serving: bool = False
) -> AsyncIterator[Services]:
    """Open everything a role needs (`receiver`, `pusher` or `both`), and close it in order.

    Without MONGO_URI a private mongod is started. `serving`: this is the long-running server, so interrupted transfers
    go on. `loopback_allowed` lets keys point to this machine (the demo). Raises SettingInvalid, MongodUnavailable,
    FolderInUse, DatabaseUnavailable, OperatorFault.
    """
    async with AsyncExitStack() as stack:
        parts = await _Parts.open(stack, settings)
        keys = Keys(parts.ledger, parts.signing_secrets, _audience(settings), _now)
        receiver = await _receiver(parts, keys) if role in ("both", "receiver") else None
        orders = _orders(parts, serving)
        pusher, runner = _pusher(parts, orders, loopback_allowed) if role in ("both", "pusher") else (None, None)
        if receiver is not None:
            await stack.enter_async_context(receiver.running(finish_commits=serving))
        if runner is not None:
            await stack.enter_async_context(runner.running())
        if serving:
            following = asyncio.ensure_future(parts.board.follow_others(asyncio.sleep))
            stack.callback(following.cancel)
        if receiver is not None:
            orders.serve(Role.RECEIVER, receiver, RECEIVER_ORDERS)
        if pusher is not None and runner is not None:
            orders.serve(Role.PUSHER, pusher, PUSHER_ORDERS, has=runner.has)
        await stack.enter_async_context(orders.carried_out())
        if serving:
            roles = [role for role in (receiver, pusher) if role is not None]
            purging = asyncio.ensure_future(purge_hourly(roles, timedelta(days=settings.retention_days)))
            stack.callback(purging.cancel)
        if pusher is not None and serving:
            # In the background: a lease of another machine may have to run out first.
            going_on = asyncio.ensure_future(pusher.go_on_with_all())
            stack.callback(going_on.cancel)
        yield Services(
            database=parts.database,
            storage=parts.storage,
            ledger=parts.ledger,
            board=parts.board,
            keys=keys,
            orders=orders,
            recheck=Recheck(database=parts.database, storage=parts.storage, ledger=parts.ledger, signer=parts.signer),
            data_dir=settings.data_dir,
            receiver=receiver,
            growi=_growi_side(parts, receiver) if receiver is not None else None,
            pusher=pusher,
        )


@dataclass(frozen=True)
class _Parts:
    """What both roles share."""

    settings: Settings
    database: Database
    config: InstanceConfig
    storage: Storage
    ledger: Ledger
    board: ProgressBoard
    files: SecretFiles
    signing_secrets: list[str]
    instance_id: str

    @classmethod
    async def open(cls, stack: AsyncExitStack, settings: Settings) -> _Parts:
        uri = settings.mongo_uri
        if uri is None:
            uri = await _private_mongod(stack, settings)
        database = await open_database(uri)
        stack.push_async_callback(database.close)
        ledger = MongoLedger(database)
        await ledger.prepare()
        board = ProgressBoard(ledger, _now, time.monotonic, TransferLog(ledger, _now, secrets.token_hex(2)))
        await board.load()
        await stack.enter_async_context(board.running())
        config = merge(settings.growi_environment, await read_configs(database))
        storage = _storage(config.file_upload_type, settings, database)
        stack.push_async_callback(storage.close)
        files = SecretFiles(settings.data_dir)
        signing = settings.secrets or await asyncio.to_thread(files.signing_secrets)
        return cls(
            settings=settings,
            database=database,
            config=config,
            storage=storage,
            ledger=ledger,
            board=board,
            files=files,
            signing_secrets=[secret.get_secret_value() for secret in signing],
            instance_id=await ledger.instance_id(secrets.token_hex(16)),
        )

    @property
    def signer(self) -> Signer:
        """Signs and checks receipts."""
        return Signer(self.signing_secrets, self.instance_id)

    @property
    def receipts(self) -> SentReceipts:
        """Receipts of what this side sends."""
        origin = _audience(self.settings) or ""
        return SentReceipts(self.ledger, self.signer, origin=origin, software=__version__)

    @property
    def environment(self) -> Mapping[str, str]:
        return self.settings.growi_environment


def _orders(parts: _Parts, serving: bool) -> Orders:
    kind = "the server" if serving else "the command line"
    return Orders(
        ledger=parts.ledger,
        owner=process_name(),
        actor=f"{kind} (process {os.getpid()} on {socket.gethostname()})",
        clock=_now,
        sleep=asyncio.sleep,
        is_gone=is_gone,
        new_id=lambda: secrets.token_hex(16),
        serving=serving,
    )


async def _private_mongod(stack: AsyncExitStack, settings: Settings) -> str:
    mongod = EmbeddedMongod(settings.data_dir, binary=settings.mongod_binary)
    try:
        await mongod.start()
    except FolderInUse:
        # A server of this wiki is running: a command works beside it, on the same database.
        uri = uri_of_running(settings.data_dir)
        if uri is None:
            raise
        return uri
    stack.push_async_callback(mongod.stop)
    return mongod.uri


def _audience(settings: Settings) -> str | None:
    try:
        return settings.public_origin()
    except SettingInvalid:
        return None  # only whoever issues a key needs it


async def _side(parts: _Parts) -> Side:
    """This instance, as a receipt names it."""
    return Side(
        instance_id=parts.instance_id,
        origin=_audience(parts.settings) or "",
        growi_version=parts.settings.growi_version or "",
        mongo_version=parts.database.version,
        file_upload_type=parts.config.file_upload_type,
        software=__version__,
    )


def _storage(kind: str, settings: Settings, database: Database) -> Storage:
    try:
        return open_storage(kind, uploads_dir=settings.uploads_dir, commands=database)
    except StorageNotConfigured as error:
        # A wiki without attachments can be moved all the same; one with attachments is told at the preflight.
        return UnconfiguredStorage(kind, error)


async def _receiver(parts: _Parts, keys: Keys) -> Receiver:
    ledger, board = parts.ledger, parts.board
    files = FileSwap(parts.storage, ledger)
    limit = parts.config.max_file_size
    transfers = Transfers(ledger, board, _now)
    importer = Importer(parts.database, ledger, board)
    names = FileNames(parts.storage, ledger)
    uploads = Uploads(parts.storage, ledger, board, names, max_file_size=limit)
    staging = StagingProof(parts.database, ledger, importer)
    in_flight, work = InFlight(), Work()
    receipts = Receipts(
        database=parts.database,
        ledger=ledger,
        transfers=transfers,
        signer=parts.signer,
        destination=lambda: _side(parts),
    )
    return Receiver(
        database=parts.database,
        ledger=ledger,
        board=board,
        keys=keys,
        transfers=transfers,
        importer=importer,
        staging=staging,
        prover=Prover(transfers, ledger, staging, FileProof(parts.storage, ledger), receipts, uploads, in_flight),
        attachments=Attachments(parts.storage, ledger, board, names, max_file_size=limit),
        uploads=uploads,
        endings=Endings(
            ledger=ledger,
            transfers=transfers,
            committer=Committer(
                parts.database,
                ledger,
                files,
                Rules(parts.database, parts.environment, _now),
                board,
                Merger(parts.database, ledger, _now, ObjectId),
                GrowiApplier(parts.database, ledger, Rules(parts.database, parts.environment, _now), _now, ObjectId),
            ),
            files=files,
            importer=importer,
            uploads=uploads,
            in_flight=in_flight,
            work=work,
            receipts=receipts,
        ),
        receipts=receipts,
        work=work,
        in_flight=in_flight,
        info=InstanceInfo(
            database=parts.database,
            storage=parts.storage,
            environment=parts.environment,
            version=parts.settings.growi_version,
            instance_id=parts.instance_id,
            clock=_now,
        ),
        storage=parts.storage,
        new_id=lambda: secrets.token_hex(16),
        instance_id=parts.instance_id,
        growi_version=parts.settings.growi_version,
        retention=timedelta(days=parts.settings.retention_days),
    )


def _growi_side(parts: _Parts, receiver: Receiver) -> GrowiSide:
    """What an unmodified GROWI pushes to."""
    intake = GrowiIntake(
        receiver=receiver,
        database=parts.database,
        ledger=parts.ledger,
        transfers=Transfers(parts.ledger, parts.board, _now),
        version=parts.settings.growi_version,
        new_id=lambda: secrets.token_hex(16),
    )
    limit = parts.config.max_file_size
    return GrowiSide(intake, GrowiFiles(parts.database, parts.storage, parts.ledger, max_file_size=limit))


def _pusher(parts: _Parts, orders: Orders, loopback_allowed: bool) -> tuple[Pusher, Runner[PushJob]]:
    ledger, board = parts.ledger, parts.board
    allowed = AllowedDestinations.parse(parts.settings.allowed_destinations)
    if loopback_allowed:
        allowed = AllowedDestinations.loopback()
    life = Life(Role.PUSHER, ledger, board, _now)
    preflight = Preflight(
        database=parts.database,
        storage=parts.storage,
        environment=parts.environment,
        version=parts.settings.growi_version,
        instance_id=parts.instance_id,
        clock=_now,
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
        clock=_now,
        freeze=Freeze(parts.database, life, _now),
    )
    runner: Runner[PushJob] = Runner(
        ledger=ledger,
        steps=life,
        owner=process_name(),
        is_gone=is_gone,
        clock=_now,
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
    parts: _Parts, life: Life, peer_for: Callable[..., Any], transfer_id: str, epoch: int
) -> AsyncIterator[PushJob]:
    row = await life.get(transfer_id)
    options = options_of(row)
    key = parts.files.key(transfer_id)
    volumes, attachments = Gate(1, VOLUMES_BUDGET), Gate(1)
    tuners = Tuner(volumes, VOLUMES, options.volumes), Tuner(attachments, ATTACHMENTS, options.attachments)
    sizes = sizes_for(row.facts.get("limits", {}))
    bandwidth = BandwidthLimiter(options.bandwidth)
    retry, source = _retries(parts.board, transfer_id, options.patience)
    async with peer_for(key or "", epoch, bandwidth) as peer:
        push: Run
        if row.setup.get("dialect") == "growi":
            push = await _growi_push(parts, life, peer, row, retry, attachments)
        else:
            await _overtake(parts.ledger, peer, transfer_id, epoch)
            push = _native_push(parts, life, peer, row, retry, source, volumes, attachments, bandwidth, tuners, sizes)
        measuring = asyncio.ensure_future(
            measure(parts.board, transfer_id, volumes, attachments, retry.by_kind, asyncio.sleep)
        )
        try:
            yield PushJob(push, *tuners, bandwidth, source=source, look=lambda: life.get(transfer_id))
        finally:
            measuring.cancel()
            await asyncio.gather(measuring, return_exceptions=True)


def _native_push(
    parts: _Parts,
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
            exclude_paths=setup.excluded_paths,
        ),
        totals=Totals(**row.facts.get("totals", {})),
        marker=lambda: secrets.token_hex(6),
        is_replica_set=parts.database.is_replica_set,
        freeze=Freeze(parts.database, life, _now),
    )


async def _growi_push(
    parts: _Parts, life: Life, peer: Peer, row: TransferRow, retry: Retry, attachments: Gate
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
            sources=SourceFiles(
                parts.database,
                parts.storage,
                parts.ledger,
                row.id,
                ExcludedPages(parts.database, setup.excluded_paths),
            ),
            transfer_id=row.id,
            accepts=lambda code: accepts_file(options, code),
        ),
        spool=parts.settings.data_dir / "spool",
    )


def _growi_exporter(parts: _Parts) -> GrowiExporter:
    return GrowiExporter(
        database=parts.database,
        environment=parts.environment,
        version=parts.settings.growi_version,
        clock=_now,
    )
