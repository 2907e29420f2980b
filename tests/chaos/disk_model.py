"""A disk that loses power: which states it may be left in, after the operations of a spool.

After ALICE (Pillai et al., OSDI 2014). What was not synced may be there or not, in any order, and a write may be torn
at 512 bytes; a name that was given, changed or removed may be as before unless its folder was synced since.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

SECTOR_BYTES = 512


@dataclass(frozen=True)
class Write:
    file: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Truncate:
    file: int
    size: int


@dataclass(frozen=True)
class Sync:
    file: int


@dataclass(frozen=True)
class Name:
    """An entry of a folder comes, and perhaps another one goes; without `file` one only goes."""

    folder: int
    new: str | None
    file: int | None
    old: str | None = None


@dataclass(frozen=True)
class Note:
    """What the test wants to remember at this point."""

    what: str
    numbers: tuple[int, ...]


class UnsyncedOS:
    """The module `os`, whose syncs take no time."""

    def __getattr__(self, name):
        return getattr(os, name)

    def fsync(self, fd):
        """Trust in the power."""

    def fdatasync(self, fd):
        """Likewise."""


class RecordingOS:
    """The module `os`, which notes every operation that changes something below a folder.

    Args:
        base: the folder; it and what is in it are on the disk.

    """

    def __init__(self, base):
        self.operations = []
        self.folders = {0}
        self._ids = {self._key(os.stat(base)): 0}

    def __getattr__(self, name):
        return getattr(os, name)

    @staticmethod
    def _key(status):
        return status.st_dev, status.st_ino

    def note(self, what, *numbers):
        self.operations.append(Note(what, numbers))

    def _folder_of(self, path):
        return self._ids[self._key(os.stat(Path(path).parent))]

    def _new(self, path, status):
        # A number of its own, since those of the system are used again.
        found = self._ids[self._key(status)] = len(self._ids) + len(self.operations)
        if stat.S_ISDIR(status.st_mode):
            self.folders.add(found)
        self.operations.append(Name(self._folder_of(path), Path(path).name, found))

    def open(self, path, flags, *mode):
        was_there = os.path.lexists(path)
        fd = os.open(path, flags, *mode)
        if not was_there:
            self._new(path, os.fstat(fd))
        elif flags & os.O_TRUNC:
            self.operations.append(Truncate(self._id(fd), 0))
        return fd

    def _id(self, fd):
        return self._ids[self._key(os.fstat(fd))]

    def mkdir(self, path, mode):
        os.mkdir(path, mode)
        self._new(path, os.stat(path))

    def pwrite(self, fd, data, offset):
        self.operations.append(Write(self._id(fd), offset, bytes(data)))
        return os.pwrite(fd, data, offset)

    def ftruncate(self, fd, size):
        self.operations.append(Truncate(self._id(fd), size))
        os.ftruncate(fd, size)

    def fdatasync(self, fd):
        self.operations.append(Sync(self._id(fd)))

    def fsync(self, fd):
        self.operations.append(Sync(self._id(fd)))

    def rename(self, old, new):
        file = self._ids[self._key(os.lstat(old))]
        os.rename(old, new)
        self.operations.append(Name(self._folder_of(new), Path(new).name, file, Path(old).name))

    def unlink(self, path):
        os.unlink(path)
        self.operations.append(Name(self._folder_of(path), None, None, Path(path).name))

    def rmdir(self, path):
        os.rmdir(path)
        self.operations.append(Name(self._folder_of(path), None, None, Path(path).name))


def state(operations, random, kept):
    """Return names and contents as a crash may leave them.

    Args:
        operations: those before the crash.
        random: chooses.
        kept: how likely an operation that was not synced is on the disk.

    """
    synced = {}
    for index, operation in enumerate(operations):
        if isinstance(operation, Sync):
            synced[operation.file] = index
    names, contents = {}, {}
    for index, operation in enumerate(operations):
        if isinstance(operation, Name):
            if synced.get(operation.folder, -1) > index or random.random() < kept:
                _rename(names.setdefault(operation.folder, {}), operation)
        elif isinstance(operation, (Write, Truncate)):
            content = contents.setdefault(operation.file, bytearray())
            is_synced = synced.get(operation.file, -1) > index
            if isinstance(operation, Truncate):
                if is_synced or random.random() < kept:
                    _truncate(content, operation.size)
            else:
                _write(content, operation, lambda is_synced=is_synced: is_synced or random.random() < kept)
    return names, contents


def _rename(entries, operation):
    if operation.old is not None:
        entries.pop(operation.old, None)
    if operation.new is not None:
        entries[operation.new] = operation.file


def _truncate(content, size):
    del content[size:]
    content.extend(bytes(size - len(content)))


def _write(content, write, is_kept):
    start = 0
    while start < len(write.data):
        place = write.offset + start
        part = write.data[start : start + SECTOR_BYTES - place % SECTOR_BYTES]
        if is_kept():
            if len(content) < place:
                content.extend(bytes(place - len(content)))
            content[place : place + len(part)] = part
        start += len(part)


def lay_out(found, folders, path, folder=0):
    """Make a state of the disk, so that it can be looked at."""
    names, contents = found
    for name, file in names.get(folder, {}).items():
        if file in folders:
            (path / name).mkdir()
            lay_out(found, folders, path / name, file)
        else:
            (path / name).write_bytes(contents.get(file, b""))
