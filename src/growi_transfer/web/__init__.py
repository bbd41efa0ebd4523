"""HTTP, Socket.IO, server-sent events and pages."""
