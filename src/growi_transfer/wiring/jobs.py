"""Builds the jobs of a server: exports and imports in the background."""

from __future__ import annotations

import asyncio
import secrets
import socket
from contextlib import AsyncExitStack
from datetime import timedelta

from growi_transfer.jobs.files import JobFiles
from growi_transfer.jobs.job_board import JobBoard
from growi_transfer.jobs.job_follower import Follower
from growi_transfer.jobs.job_retention import Retention
from growi_transfer.jobs.job_runner import JobRunner
from growi_transfer.jobs.notify import Post, Webhooks, owed
from growi_transfer.jobs.service import Jobs
from growi_transfer.jobs.work import ExportWork, ImportWork, Work
from growi_transfer.ledger.jobs import JobKind
from growi_transfer.protocol.errors import SettingInvalid
from growi_transfer.pusher.address import AllowedDestinations
from growi_transfer.pusher.pusher import Pusher
from growi_transfer.pusher.webhook import WebhookClient
from growi_transfer.receiver.receiver import Receiver
from growi_transfer.wiring.parts import Parts, now


async def jobs_of(stack: AsyncExitStack, parts: Parts, receiver: Receiver | None, pusher: Pusher | None) -> Jobs:
    """The jobs, running until the stack is closed. Raises SettingInvalid, and OperatorFault when their folder cannot
    be used."""
    settings = parts.settings
    files = await asyncio.to_thread(JobFiles, settings.data_dir / "jobs", _new_id())
    hours = settings.export_retention_hours
    keep = timedelta(hours=hours) if hours else None
    post, secret = _webhook(parts)
    board = JobBoard(parts.ledger, now, files, keep, owed(files.id) if post is not None else None)
    works: dict[JobKind, Work] = {}
    if pusher is not None:
        works[JobKind.EXPORT] = ExportWork(pusher, files, asyncio.sleep)
    if receiver is not None:
        works[JobKind.IMPORT] = ImportWork(receiver, parts.board, files, asyncio.sleep, _new_id)
    webhooks = Webhooks(board, files.id, post, secret, asyncio.sleep)
    retention = Retention(board, files, kinds=works, keep=keep, most=settings.export_bytes)
    board.ended += [webhooks.tell, retention.wake]
    node = socket.gethostname()
    runner = JobRunner(
        board,
        files,
        works,
        at_once=settings.jobs_at_once,
        node=node,
        sleep=asyncio.sleep,
    )
    jobs = Jobs(
        board,
        files,
        runner,
        node=node,
        sleep=asyncio.sleep,
        new_id=_new_id,
        exporter=pusher,
        importer=receiver,
    )
    await stack.enter_async_context(webhooks.running())
    await stack.enter_async_context(jobs.running())
    sweeping = asyncio.ensure_future(retention.sweep_for_ever())
    stack.callback(sweeping.cancel)
    following = asyncio.ensure_future(Follower(board, files.id, asyncio.sleep).follow_for_ever())
    stack.callback(following.cancel)
    return jobs


def _webhook(parts: Parts) -> tuple[Post | None, str]:
    """Who is told of ends, and what signs it. Raises SettingInvalid."""
    settings = parts.settings
    if settings.webhook_url is None:
        return None, ""
    if settings.webhook_secret is None:
        name = "GROWI_TRANSFER_WEBHOOK_SECRET"
        raise SettingInvalid(f"{name} is needed: notifications are signed.", setting=name)
    client = WebhookClient(settings.webhook_url, AllowedDestinations.parse(settings.allowed_destinations))
    return client.post, settings.webhook_secret.get_secret_value()


def _new_id() -> str:
    return secrets.token_hex(16)
