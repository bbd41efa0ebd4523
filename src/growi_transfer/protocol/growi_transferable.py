"""What GROWI's own export and G2G transfer never carry.

Source: GROWI 8.x, growilabs/growi at 5026059a (its list of collections that are not transferable); 7.3 leaves the same
ones out of its form, but for those it does not know yet.
"""

from __future__ import annotations

from growi_transfer.protocol.names import is_operating_state

NEVER = frozenset(
    {
        "activities",
        "auditlog_es_sync_status",
        "auditlogbulkexportjobs",
        "changestream_resume_tokens",
        "failedemails",
        "mastra_refreshed_model_catalog",
        "migrations",
        "pagebulkexportjobs",
        "pagebulkexportpagesnapshots",
        "pageoperations",
        "rlflx",
        "sessions",
        "transferkeys",
        "vault_instructions",
        "vault_namespace_state",
        "vault_reconcile_log",
        "vault_sync_state",
        "vault_user_views",
        "attachmentFiles.files",
        "attachmentFiles.chunks",
        "yjs-writings",
    }
)


def is_growi_transferable(collection: str) -> bool:
    """Whether GROWI's own archive has this collection."""
    return collection not in NEVER and not is_operating_state(collection)
