"""Every error a user, a peer or a script can meet, with a stable code.

    TransferError
    ├── InvalidRequest      what was sent is wrong; sending it again will not help        400
    ├── Forbidden           who is asking may not                                         403
    ├── NotFound            no such thing here                                            404
    ├── Conflict            right, but not now or not together with what is here          409
    ├── TooLarge            over a limit that is told in `growi-info`                     413
    ├── Unavailable         a part does not answer at the moment; retrying helps          503
    ├── InsufficientSpace   the disk or a quota is full                                   507
    ├── OperatorFault       the set-up of this machine is wrong (settings, folders)       500
    └── PeerRefused         the other instance answered with an error of its own          502

Each leaf has a `code` that never changes, a docstring a user can read, and says whether sending the very same
thing again can help (`retryable`). `tree` has the root and the families, the other modules have the leaves. Only two
places translate them: `web/errors.py` (HTTP status) and `cli/main.py` (exit code). `details` holds plain JSON values
for programs; it never holds a secret.
"""

from __future__ import annotations

# ruff: noqa: F403 (every class of a family is public, so a new error is written in one place and in no list)
from growi_transfer.protocol.errors.access import *
from growi_transfer.protocol.errors.conflicts import *
from growi_transfer.protocol.errors.growi import *
from growi_transfer.protocol.errors.machines import *
from growi_transfer.protocol.errors.requests import *
from growi_transfer.protocol.errors.tree import *
