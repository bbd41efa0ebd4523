"""Builds the receiving role."""

from __future__ import annotations

import secrets
from datetime import timedelta

from bson import ObjectId

from growi_transfer.receiver.absences import Absences
from growi_transfer.receiver.attachments import Attachments
from growi_transfer.receiver.beginnings import Beginnings
from growi_transfer.receiver.commit import Committer
from growi_transfer.receiver.copied_files import CopiedFiles
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
from growi_transfer.storage.registry import copies_of
from growi_transfer.wiring.parts import Parts, now, side_of


async def receiver_of(parts: Parts, keys: Keys) -> Receiver:
    ledger, board = parts.ledger, parts.board
    files = FileSwap(parts.storage, ledger)
    limit = parts.config.max_file_size
    transfers = Transfers(ledger, board, now)
    importer = Importer(parts.database, ledger, board)
    names = FileNames(parts.storage, ledger)
    uploads = Uploads(parts.storage, ledger, board, names, max_file_size=limit)
    copies = copies_of(parts.storage)
    absences = Absences(parts.storage.features.remote)
    copied = CopiedFiles(parts.storage, copies, ledger, board, names, absences, max_file_size=limit) if copies else None
    staging = StagingProof(parts.database, ledger, importer)
    in_flight, work = InFlight(), Work()
    receipts = Receipts(
        database=parts.database,
        ledger=ledger,
        transfers=transfers,
        signer=parts.signer,
        destination=lambda: side_of(parts),
    )
    endings = Endings(
        ledger=ledger,
        transfers=transfers,
        committer=Committer(
            parts.database,
            ledger,
            files,
            Rules(parts.database, parts.environment, now),
            board,
            Merger(parts.database, ledger, now, ObjectId),
            GrowiApplier(parts.database, ledger, Rules(parts.database, parts.environment, now), now, ObjectId),
        ),
        files=files,
        importer=importer,
        uploads=uploads,
        in_flight=in_flight,
        work=work,
        receipts=receipts,
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
        attachments=Attachments(
            parts.storage, ledger, board, names, absences, max_file_size=limit, copy=copied.put if copied else None
        ),
        uploads=uploads,
        beginnings=Beginnings(keys, transfers, endings, instance_id=parts.instance_id),
        endings=endings,
        receipts=receipts,
        work=work,
        in_flight=in_flight,
        info=InstanceInfo(
            database=parts.database,
            storage=parts.storage,
            environment=parts.environment,
            version=parts.settings.growi_version,
            instance_id=parts.instance_id,
            clock=now,
            features=("server_copy",) if copies else (),
        ),
        storage=parts.storage,
        new_id=lambda: secrets.token_hex(16),
        growi_version=parts.settings.growi_version,
        retention=timedelta(days=parts.settings.retention_days),
    )


def growi_side(parts: Parts, receiver: Receiver) -> GrowiSide:
    """What an unmodified GROWI pushes to."""
    intake = GrowiIntake(
        receiver=receiver,
        database=parts.database,
        ledger=parts.ledger,
        transfers=Transfers(parts.ledger, parts.board, now),
        version=parts.settings.growi_version,
        new_id=lambda: secrets.token_hex(16),
    )
    limit = parts.config.max_file_size
    names = FileNames(parts.storage, parts.ledger)
    files = GrowiFiles(parts.database, parts.storage, parts.ledger, names, max_file_size=limit)
    return GrowiSide(intake, files, receiver.in_flight)
