"""What `demo` and `bench` share: a folder to work in, and an orderly end however they are stopped."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from growi_transfer.cli.session import Interrupted


@contextlib.contextmanager
def work_folder(name: str, parent: Path | None, note: Callable[[str], None]) -> Iterator[Path]:
    """A new folder that goes away; after an error the logs in it stay."""
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"growi-transfer-{name}-", dir=parent))
    try:
        yield folder
    except Exception:
        _leave_logs(folder)
        note(f"The logs are in {folder}.")
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _leave_logs(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        with contextlib.suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            elif path.suffix != ".log":
                path.unlink()


@contextlib.contextmanager
def until_stopped() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does: all is stopped and removed, then Interrupted raised."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("Stopped. Nothing is left behind, and the next run begins anew.") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
