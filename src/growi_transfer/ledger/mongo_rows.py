"""How the rows of the ledger look as documents in MongoDB.

The `_id` of every document is a text of its key's parts with `/` between them, numbers padded with zeros, for example
`pusher/<transfer id>/<attachment id>`. So whatever belongs together is one range of the `_id` index, in the order in
which it is asked for. Fields that have the value of an empty row are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from growi_transfer.ledger.base import (
    CollectionRow,
    FileRow,
    ItemState,
    JournalRow,
    KeyRow,
    LogRow,
    OrderRow,
    RangeRow,
    Role,
    TransferRow,
)
from growi_transfer.ledger.values import (
    bson_bytes,
    from_bson_bytes,
    from_json_text,
    json_text,
    milliseconds,
    storable,
)
from growi_transfer.protocol.machine import Position, State

Document = dict[str, Any]

# Enum classes called with a value are slow where a page has thousands of rows.
_ROLES = {role.value: role for role in Role}
_STATES = {state.value: state for state in ItemState}


def key(*parts: str | int) -> str:
    """An `_id`. Numbers have ten digits: their order as text is their order."""
    return "/".join(f"{part:010d}" if isinstance(part, int) else str(part) for part in parts)


def below(*parts: str | int) -> Document:
    """The condition on `_id` for all keys that begin with these parts."""
    start = key(*parts)
    return {"$gt": start + "/", "$lt": start + "0"}  # "0" follows "/"


def position_fields(position: Position) -> Document:
    return {"state": position.state.value, "came_from": position.came_from.value if position.came_from else None}


def transfers_query(role: Role | None, states: Sequence[State]) -> Document:
    """The condition for transfers of a role and of some states; none given means all."""
    query: Document = {"_id": below(role)} if role else {}
    return {**query, "state": {"$in": [state.value for state in states]}} if states else query


def transfer_document(row: TransferRow) -> Document:
    return {
        "_id": key(row.role, row.id),
        **position_fields(row.position),
        "created_at": milliseconds(row.created_at),
        "updated_at": milliseconds(row.updated_at),
        "epoch": row.epoch,
        "setup": json_text(row.setup),
        "facts": fact_fields(row.facts),
    }


def fact_fields(facts: Mapping[str, Any]) -> dict[str, str]:
    return {name: json_text({"v": value}) for name, value in facts.items()}


def transfer_row(document: Mapping[str, Any]) -> TransferRow:
    role, _, transfer_id = document["_id"].partition("/")
    came_from = document["came_from"]
    return TransferRow(
        role=_ROLES[role],
        id=transfer_id,
        position=Position(State(document["state"]), State(came_from) if came_from else None),
        setup=from_json_text(document["setup"]),
        created_at=milliseconds(document["created_at"]),
        updated_at=milliseconds(document["updated_at"]),
        epoch=int(document["epoch"]),
        facts={name: from_json_text(text)["v"] for name, text in document["facts"].items()},
    )


def collection_document(row: CollectionRow) -> Document:
    return {
        "_id": key(row.role, row.transfer_id, row.number),
        "name": row.name,
        "kind": row.kind,
        "source_uuid": row.source_uuid,
        "metadata": row.metadata,
        "staging": row.staging,
        "facts": json_text(row.facts),
    }


def collection_row(document: Mapping[str, Any]) -> CollectionRow:
    role, transfer_id, number = document["_id"].split("/")
    return CollectionRow(
        role=_ROLES[role],
        transfer_id=transfer_id,
        number=int(number),
        name=document["name"],
        kind=document["kind"],
        source_uuid=document["source_uuid"],
        metadata=document["metadata"],
        staging=document["staging"],
        facts=from_json_text(document["facts"]),
    )


def range_document(row: RangeRow) -> Document:
    return {
        "_id": key(row.role, row.transfer_id, row.collection, row.number),
        "minimum": row.minimum,
        "maximum": row.maximum,
        "documents": row.documents,
        "bytes": row.bytes,
        "digest": row.digest,
        "state": row.state.value,
        **_unless_empty(marker=row.marker, tries=row.tries, reason=storable(row.reason)),
    }


def range_row(document: Mapping[str, Any]) -> RangeRow:
    role, transfer_id, collection, number = document["_id"].split("/")
    return RangeRow(
        role=_ROLES[role],
        transfer_id=transfer_id,
        collection=int(collection),
        number=int(number),
        minimum=document["minimum"],
        maximum=document["maximum"],
        documents=int(document["documents"]),
        bytes=int(document["bytes"]),
        digest=document["digest"],
        state=_STATES[document["state"]],
        marker=document.get("marker", ""),
        tries=int(document.get("tries", 0)),
        reason=document.get("reason", ""),
    )


def file_document(row: FileRow) -> Document:
    return {
        "_id": key(row.role, row.transfer_id, row.attachment_id),
        "path": row.path,
        "size": row.size,
        "state": row.state.value,
        **_unless_empty(
            digest=row.digest,
            facts=json_text(row.facts) if row.facts else "",
            tries=row.tries,
            reason=storable(row.reason),
        ),
    }


def file_row(document: Mapping[str, Any]) -> FileRow:
    role, transfer_id, attachment_id = document["_id"].split("/")
    facts = document.get("facts")
    return FileRow(
        role=_ROLES[role],
        transfer_id=transfer_id,
        attachment_id=attachment_id,
        path=document["path"],
        size=int(document["size"]),
        state=_STATES[document["state"]],
        digest=document.get("digest", b""),
        facts=_facts_of(facts) if facts else {},
        tries=int(document.get("tries", 0)),
        reason=document.get("reason", ""),
    )


def _facts_of(text: str) -> dict[str, Any]:
    """Facts that are the caller's own."""
    flat = _flat_facts(text)
    return dict(flat) if flat is not None else from_json_text(text)


@lru_cache(maxsize=16)
def _flat_facts(text: str) -> dict[str, Any] | None:
    """Nearly all files of a transfer have the same facts, and reading the text took a tenth of a plan. None for those
    with lists or objects in them, of which a shallow copy is not enough."""
    facts: dict[str, Any] = from_json_text(text)
    return None if any(isinstance(value, dict | list) for value in facts.values()) else facts


def key_document(row: KeyRow) -> Document:
    return {
        "_id": row.id,
        "token_hash": row.token_hash,
        "audience": row.audience,
        "issued_at": milliseconds(row.issued_at),
        "expires_at": milliseconds(row.expires_at),
        "ceiling_at": milliseconds(row.ceiling_at),
        "claimed_by": row.claimed_by,
        "revoked_at": _moment(row.revoked_at),
        "last_used_at": _moment(row.last_used_at),
    }


def key_row(document: Mapping[str, Any]) -> KeyRow:
    return KeyRow(
        id=document["_id"],
        token_hash=document["token_hash"],
        audience=document["audience"],
        issued_at=milliseconds(document["issued_at"]),
        expires_at=milliseconds(document["expires_at"]),
        ceiling_at=milliseconds(document["ceiling_at"]),
        claimed_by=document["claimed_by"],
        revoked_at=_moment(document["revoked_at"]),
        last_used_at=_moment(document["last_used_at"]),
    )


def journal_document(row: JournalRow) -> Document:
    return {
        "_id": key(row.transfer_id, row.number),
        "kind": row.kind,
        "payload": bson_bytes(row.payload),
        "done": row.done,
    }


def journal_row(document: Mapping[str, Any]) -> JournalRow:
    transfer_id, _, number = document["_id"].partition("/")
    return JournalRow(
        transfer_id=transfer_id,
        number=int(number),
        kind=document["kind"],
        payload=from_bson_bytes(document["payload"]),
        done=document["done"],
    )


def log_document(row: LogRow) -> Document:
    return {
        "_id": key(row.role, row.transfer_id, row.stamp),
        "at": milliseconds(row.at),
        "level": row.level,
        "event": row.event,
        "message": storable(row.message),
        "details": json_text(row.details),
    }


def log_row(document: Mapping[str, Any]) -> LogRow:
    role, transfer_id, stamp = document["_id"].split("/")
    return LogRow(
        role=_ROLES[role],
        transfer_id=transfer_id,
        stamp=stamp,
        at=milliseconds(document["at"]),
        level=document["level"],
        event=document["event"],
        message=document["message"],
        details=from_json_text(document["details"]),
    )


def order_document(row: OrderRow) -> Document:
    return {
        "_id": row.id,
        "role": row.role.value,
        "transfer": row.transfer_id,
        "verb": row.verb,
        "arguments": json_text(row.arguments),
        "to": row.to,
        "by": storable(row.by),
        "expires_at": milliseconds(row.expires_at),
        "taken_by": row.taken_by,
        "answer": None if row.answer is None else json_text(row.answer),
    }


def order_row(document: Mapping[str, Any]) -> OrderRow:
    answer = document["answer"]
    return OrderRow(
        id=document["_id"],
        role=_ROLES[document["role"]],
        transfer_id=document["transfer"],
        verb=document["verb"],
        arguments=from_json_text(document["arguments"]),
        to=document["to"],
        by=document["by"],
        expires_at=milliseconds(document["expires_at"]),
        taken_by=document["taken_by"],
        answer=None if answer is None else from_json_text(answer),
    )


def _unless_empty(**fields: Any) -> Document:
    return {name: value for name, value in fields.items() if value}


def _moment(value: datetime | None) -> datetime | None:
    return None if value is None else milliseconds(value)
