"""The composition root: settings in, services out. The only place that names the concrete classes."""

from __future__ import annotations

from growi_transfer.wiring.opening import Services, open_services

__all__ = ["Services", "open_services"]
