"""What the references of a batch of documents become."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from growi_transfer.protocol.growi_references import PATHS, Fate, Resolve, references, targets_of
from growi_transfer.receiver.merge.fates import Decision, Fates, key_of, object_id


async def resolver(fates: Fates, collection: str, documents: Iterable[Mapping[str, Any]]) -> Resolve:
    """For `rewrite`, good for these documents."""
    wanted: dict[str, list[Any]] = {}
    if fates.kinds & targets_of(collection):
        for document in documents:
            for target, identity, as_text in references(collection, document):
                wanted.setdefault(target, []).append(_identity(target, identity, as_text))
    found: dict[str, dict[bytes, Decision]] = {
        target: await fates.get(target, identities) for target, identities in wanted.items()
    }

    def resolve(target: str, identity: Any, as_text: bool) -> Fate | None:
        decisions = found.get(target)
        decision = decisions.get(key_of(_identity(target, identity, as_text))) if decisions else None
        if decision is None or (decision.to == identity and not decision.kept):
            return None
        return decision.fate

    return resolve


def _identity(target: str, identity: Any, as_text: bool) -> Any:
    return object_id(identity) if as_text and target != PATHS else identity
