"""What the dry run of a merge sends: who and what is there, without contents; see docs/merge.md."""

from __future__ import annotations

from typing import Annotated

from pydantic import FailFast, Field

from growi_transfer.protocol.wire import MERGE_KEYS, AttachmentId, Count, MergeRules, Shape, Text

_Keys = Field(max_length=MERGE_KEYS)


class UserKey(Shape):
    id: AttachmentId
    """24 hex digits, as all ids here."""
    username: Text
    email: Text | None = None


class GroupKey(Shape):
    id: AttachmentId
    name: Text
    external_id: Text | None = None
    """Groups that come from outside have one, and a provider."""
    provider: Text | None = None


class AccountKey(Shape):
    id: AttachmentId
    provider_type: Text
    account_id: Text
    user: AttachmentId | None = None


class PageKey(Shape):
    id: AttachmentId
    path: Text
    has_parent: bool = False
    is_empty: bool = False
    status: Text = "published"
    grant: Annotated[int, Field(ge=0, le=100)] = 1
    revision: AttachmentId | None = None


class MergePlan(Shape):
    """POST merge-plan: a part of a wiki; users come with their accounts, pages in order of their paths."""

    merge: MergeRules
    users: Annotated[tuple[UserKey, ...], _Keys, FailFast()] = ()
    external_accounts: Annotated[tuple[AccountKey, ...], _Keys, FailFast()] = ()
    groups: Annotated[tuple[GroupKey, ...], _Keys, FailFast()] = ()
    pages: Annotated[tuple[PageKey, ...], _Keys, FailFast()] = ()


class ShownConflict(Shape):
    name: Text
    resolution: Text
    to: Text = ""


class ConflictsOfKind(Shape):
    total: Count
    resolutions: Annotated[dict[Text, Count], Field(max_length=20)]
    first: Annotated[tuple[ShownConflict, ...], Field(max_length=100)] = ()


class MergeAnswer(Shape):
    """The answer to a `MergePlan`."""

    conflicts: Annotated[dict[Text, ConflictsOfKind], Field(max_length=20)]
