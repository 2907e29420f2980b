"""The file operations of a spool: the only module through which it touches the disk.

Two rules hold. Only "no such file" means that a file is absent; every other error is raised, since a file that cannot
be read may well be there. And a descriptor is used only while it is ours: an application that closes all descriptors
(as daemons do) and opens a file of its own may be given the same number.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import suppress
from secrets import randbits, token_hex
from typing import TYPE_CHECKING, Final

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "File",
    "LostFileError",
    "can_lock",
    "concerns_the_file",
    "exists",
    "folders_in",
    "is_leftover",
    "make_folder",
    "names_in",
    "remove",
    "remove_folder",
    "rename",
    "replace_content",
    "stat_of",
    "sync_folder",
    "working_locks",
]

_FLAGS: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_MARK_BITS: Final = 31
_HIDDEN_FOR_S: Final = 60.0

_marks: Final[dict[int, int]] = {}
"""The mark of each descriptor that is open here."""


class LostFileError(OSError):
    """The application has closed the descriptor of a file."""


class File:
    """An open regular file.

    Its offset, which reading and writing at explicit places never moves, is set to a random number: a descriptor that
    has another one is not ours any more. That costs a quarter of comparing device and inode.

    Args:
        path: of the file; a symbolic link is an error.
        flags: of `os.open`; opening never blocks, and no started program inherits the descriptor.

    Raises:
        OSError: the file cannot be opened, or is not a regular file.

    """

    __slots__ = ("_fd", "_mark", "path")

    def __init__(self, path: Path, flags: int) -> None:
        self.path = path
        self._mark = (1 << _MARK_BITS) + randbits(_MARK_BITS - 1)
        fd = os.open(path, flags | _FLAGS, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", str(path))
            if flags & os.O_CREAT:
                _give_to_owner_of_folder(fd, path)
            os.lseek(fd, self._mark, os.SEEK_SET)
        except OSError:
            os.close(fd)
            raise
        _marks[fd] = self._mark
        self._fd = fd

    @property
    def is_ours(self) -> bool:
        """Whether the descriptor is still that of this file."""
        return _has_mark(self._fd, self._mark)

    def read(self, size: int, offset: int) -> bytes:
        """Return up to `size` bytes from `offset` on; raise `OSError`."""
        return os.pread(self._own_fd(), size, offset)

    def write(self, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`; raise `OSError` if part of it could not be written."""
        try:
            is_ours = os.lseek(self._fd, 0, os.SEEK_CUR) == self._mark
        except OSError:
            is_ours = False
        if not is_ours:
            raise self._lost()
        if os.pwrite(self._fd, data, offset) < len(data):
            raise OSError(errno.ENOSPC, "no space left for a whole record", str(self.path))

    def truncate(self, size_bytes: int) -> None:
        """Cut the file off; raise `OSError`."""
        os.ftruncate(self._own_fd(), size_bytes)

    def size_bytes(self) -> int:
        """Return the size of the file; raise `OSError`."""
        return os.fstat(self._own_fd()).st_size

    def sync(self) -> None:
        """Have the content on the disk, not only with the system; raise `OSError`."""
        getattr(os, "fdatasync", os.fsync)(self._own_fd())

    def lock(self, *, shared: bool = False) -> bool:
        """Lock the file until it is closed; tell whether that could be done at once. Raises `OSError`."""
        how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(self._own_fd(), how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        """Give the lock back, also where a child that was forked a moment ago has the file open, too."""
        if self.is_ours:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def is_at(self, path: Path) -> bool:
        """Tell whether the file is the one at a path; raise `OSError`."""
        found = stat_of(path)
        own = os.fstat(self._own_fd())
        return found is not None and (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)

    def close(self) -> None:
        """Close the file, if its descriptor is still ours."""
        fd, self._fd = self._fd, -1
        _close(fd, self._mark)

    def _own_fd(self) -> int:
        if not self.is_ours:
            raise self._lost()
        return self._fd

    def _lost(self) -> LostFileError:
        return LostFileError(errno.EBADF, "the application has closed the descriptor of this file", str(self.path))


def _has_mark(fd: int, mark: int) -> bool:
    try:
        return os.lseek(fd, 0, os.SEEK_CUR) == mark
    except OSError:  # it is closed, or a pipe by now
        return False


def _close(fd: int, mark: int) -> None:
    if _marks.get(fd) == mark:
        del _marks[fd]
    if _has_mark(fd, mark):
        os.close(fd)


def _leave_to_parent() -> None:
    """Close in a forked child the files of its parent, which keeps its locks."""
    for fd, mark in list(_marks.items()):
        _close(fd, mark)
    _marks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def can_lock() -> bool:
    """Tell whether this system has the file locks that a spool needs."""
    return fcntl is not None


def working_locks(folder: Path) -> bool:
    """Tell whether locks in a folder keep others out; raise `OSError` if there are none, as on some network disks."""
    path = folder / f".lock-{token_hex(8)}"
    first = File(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        second = File(path, os.O_RDWR)
        try:
            return first.lock() and not second.lock()
        finally:
            second.close()
    finally:
        first.close()
        remove(path)


def concerns_the_file(error: OSError) -> bool:
    """Tell whether an error lies with one file and may last, unlike a lack of descriptors or memory."""
    return error.errno in _FILE_ERRORS


_FILE_ERRORS: Final = frozenset(
    (errno.EIO, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM, errno.ENODEV)
)


def stat_of(path: Path) -> os.stat_result | None:
    """Return the status of a file or folder, or None if it is absent; raise `OSError`."""
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def exists(path: Path) -> bool:
    """Tell whether a file or folder is there; raise `OSError`."""
    return stat_of(path) is not None


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder, none if it is absent; raise `OSError`."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def folders_in(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, none if it is absent; raise `OSError`. Links are left out."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def make_folder(path: Path, *, is_inner: bool = True) -> None:
    """Make a folder that nobody else may look into, in a spool or for one; raise `OSError`."""
    os.mkdir(path, 0o700)
    if is_inner:
        _give_to_owner_of_folder(path, path)


def rename(path: Path, new: Path) -> None:
    """Rename a file or folder; raise `OSError`."""
    os.rename(path, new)


def remove(path: Path) -> bool:
    """Remove a file; tell whether it was there. Raises `OSError`."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def remove_folder(path: Path) -> None:
    """Remove a folder and the files in it; raise `OSError`. A folder in it is left, and so is this one."""
    for name in names_in(path):
        remove(path / name)
    with suppress(FileNotFoundError):
        os.rmdir(path)


def replace_content(path: Path, data: bytes, new: Path, *, is_synced: bool = False) -> None:
    """Write a file under another name and rename it, so that nobody ever reads half of it; raise `OSError`."""
    file = File(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        file.write(data, 0)
        if is_synced:
            file.sync()
    finally:
        file.close()
    os.rename(new, path)
    if is_synced:
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Have the names in a folder on the disk, not only with the system; raise `OSError`."""
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def is_leftover(path: Path) -> bool:
    """Tell whether a hidden folder has not been changed for so long that nobody works on it; raise `OSError`."""
    found = stat_of(path)
    return found is not None and abs(time.time() - found.st_mtime) > _HIDDEN_FOR_S


def _give_to_owner_of_folder(file: int | Path, path: Path) -> None:
    """Let root create nothing in the folder of somebody else that they could not use."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return
    folder, own = os.stat(path.parent), os.stat(file)
    if (folder.st_uid, folder.st_gid) != (own.st_uid, own.st_gid):
        os.chown(file, folder.st_uid, folder.st_gid)
