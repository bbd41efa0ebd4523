"""What both roles share: the database, the settings in force, the storage, the ledger."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from growi_transfer import __version__
from growi_transfer.jobs.instance import InstanceSummary
from growi_transfer.ledger.base import Ledger
from growi_transfer.ledger.board import ProgressBoard
from growi_transfer.ledger.log import TransferLog
from growi_transfer.ledger.mongo import MongoLedger
from growi_transfer.ledger.tally import Tally
from growi_transfer.mongo.client import Database, open_database
from growi_transfer.mongo.embedded import EmbeddedMongod, uri_of_running
from growi_transfer.mongo.wiki import read_configs
from growi_transfer.protocol.errors import FolderInUse, SettingInvalid, StorageNotConfigured
from growi_transfer.protocol.growi_config import InstanceConfig, merge
from growi_transfer.protocol.receipt import Side, Signer
from growi_transfer.pusher.receipts import Receipts as SentReceipts
from growi_transfer.secret_files import SecretFiles
from growi_transfer.settings import Settings
from growi_transfer.storage.base import Storage
from growi_transfer.storage.places import ObjectStoreSettings
from growi_transfer.storage.registry import open_storage
from growi_transfer.storage.unconfigured import UnconfiguredStorage


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Parts:
    """What both roles share."""

    settings: Settings
    database: Database
    config: InstanceConfig
    storage: Storage
    ledger: Ledger
    board: ProgressBoard
    tally: Tally
    files: SecretFiles
    signing_secrets: list[str]
    instance_id: str

    @classmethod
    async def open(cls, stack: AsyncExitStack, settings: Settings) -> Parts:
        uri = settings.mongo_uri
        if uri is None:
            uri = await _private_mongod(stack, settings)
        database = await open_database(uri)
        stack.push_async_callback(database.close)
        ledger = MongoLedger(database)
        await ledger.prepare()
        tally = Tally()
        board = ProgressBoard(ledger, now, time.monotonic, TransferLog(ledger, now, secrets.token_hex(2)), tally)
        await board.load()
        await stack.enter_async_context(board.running())
        config = merge(settings.growi_environment, await read_configs(database))
        storage = _storage(config, settings, database)
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
            tally=tally,
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
        origin = audience(self.settings) or ""
        return SentReceipts(self.ledger, self.signer, origin=origin, software=__version__)

    @property
    def environment(self) -> Mapping[str, str]:
        return self.settings.growi_environment


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


def audience(settings: Settings) -> str | None:
    try:
        return settings.public_origin()
    except SettingInvalid:
        return None  # only whoever issues a key needs it


async def side_of(parts: Parts) -> Side:
    """This instance, as a receipt names it."""
    return Side(
        instance_id=parts.instance_id,
        origin=audience(parts.settings) or "",
        growi_version=parts.settings.growi_version or "",
        mongo_version=parts.database.version,
        file_upload_type=parts.config.file_upload_type,
        software=__version__,
    )


def instance_summary(parts: Parts) -> InstanceSummary:
    settings = parts.settings
    return InstanceSummary(
        database=parts.database,
        storage=parts.storage,
        environment=parts.environment,
        growi_version=settings.growi_version,
        instance_id=parts.instance_id,
        origin=audience(settings),
        origin_is_set=settings.origin is not None,
        retention=timedelta(days=settings.retention_days),
    )


def _storage(config: InstanceConfig, settings: Settings, database: Database) -> Storage:
    kind, account_key = config.file_upload_type, settings.azure_account_key
    objects = ObjectStoreSettings(
        values=config.values,
        azure_account_key=account_key.get_secret_value() if account_key else None,
        azure_endpoint=settings.azure_endpoint,
        gcs_endpoint=settings.gcs_endpoint,
    )
    try:
        return open_storage(kind, uploads_dir=settings.uploads_dir, commands=database, objects=objects)
    except StorageNotConfigured as error:
        # A wiki without attachments can be moved all the same; one with attachments is told at the preflight.
        return UnconfiguredStorage(kind, error)
