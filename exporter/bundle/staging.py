"""A directory that is written whole or not at all, also where several write it at once or one is killed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from temport.exporter.bundle.digest import MANIFEST
from temport.exporter.errors import Interrupted, UserError

ATTEMPTS = 100
"""How often another export may come first."""
ABANDONED = 60
"""Seconds after which a directory that no process holds is what a killed one left."""
_FULL_OR_FORBIDDEN = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EFBIG)
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A temporary directory that becomes `out` if the block succeeds and vanishes otherwise.

    An existing bundle at `out` is replaced only at the very end; anything else there is never touched. Of several
    exports into one directory the last one stays, whole. What a killed export left beside `out` is cleared away.
    """
    out = out.absolute()
    if out.is_symlink():
        raise UserError(f"{out} is a symbolic link; give the directory itself as --out")
    if all(
        _is_foreign(out) for _ in range(3)
    ):  # once is not enough while another export is replacing its bundle
        raise UserError(f"{out} exists and is not a bundle; choose another --out")
    alone = not out.parent.exists()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _clear_abandoned(out)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    except OSError as error:
        raise UserError(f"cannot write to {out.parent}: {error.strerror}; choose another --out") from error
    try:
        with _termination_as_exception(), _held(work):
            yield work
            work.chmod(0o755)
            _move(work, out)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; nothing was written") from None
    except OSError as error:
        if error.errno in _FULL_OR_FORBIDDEN:
            raise UserError(f"cannot finish {out}: {error.strerror}; nothing was written") from error
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if alone:  # a folder that was made for nothing goes too; one that holds the bundle stays
            with contextlib.suppress(OSError):
                out.parent.rmdir()


def _is_foreign(out: Path) -> bool:
    """Whether something stands there that is neither a bundle nor an empty directory."""
    try:
        names = os.listdir(out)
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        return True
    return bool(names) and MANIFEST not in names


def _move(work: Path, out: Path) -> None:
    """`work` becomes `out`; a bundle that was there is kept until the new one stands."""
    for _ in range(ATTEMPTS):
        if _renamed(work, out):
            return
        old = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".old", dir=out.parent))
        try:
            os.rename(out, old)
            os.utime(old)  # or it would look abandoned
        except FileNotFoundError:  # another export has just moved it away
            old.rmdir()
            continue
        try:
            done = _renamed(work, out)
        except OSError:
            os.rename(old, out)
            raise
        shutil.rmtree(old, ignore_errors=True)
        if done:  # else another export came first, and its bundle is to be replaced now
            return
    raise UserError(f"other exports keep writing {out}; give each a directory of its own")


def _renamed(work: Path, out: Path) -> bool:
    """Whether `work` is `out` now; not where something stands there."""
    try:
        os.rename(work, out)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


@contextlib.contextmanager
def _held(directory: Path) -> Iterator[None]:
    """While this process lives, nobody takes the directory for abandoned."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _clear_abandoned(out: Path) -> None:
    """Remove what a killed export into `out` left: directories that are not new and that no process holds."""
    for kind in ("partial", "old"):
        for left in out.parent.glob(f".{out.name}.*.{kind}"):
            with contextlib.suppress(OSError):  # another one clears it away, or it is not ours to remove
                if time.time() - left.stat().st_mtime < ABANDONED:
                    continue
                descriptor = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(left, ignore_errors=True)
                finally:
                    os.close(descriptor)


@contextlib.contextmanager
def _termination_as_exception() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind like Ctrl-C, so that the temporary directory goes with the process."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = {}
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                previous[number] = signal.signal(number, stop)
    except ValueError:  # not the main thread: the caller owns the signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
