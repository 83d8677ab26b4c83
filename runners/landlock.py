"""Hide folders from this process and all that it starts: Linux's Landlock (kernel documentation, "Landlock").

Landlock allows, it does not deny: all that may be used is listed once, before the process has other threads.
So what is hidden is left out, and everything beside it is listed; what is kept below it may be read, not
changed. What holds for a folder holds for all below it, so folders above it are left out too: nothing can be
made, removed or renamed directly in them, nor can they be listed, unless modules are looked for in them.

A confined process can also not look into processes outside of it (environment, memory) nor, on newer kernels,
send them signals. The capabilities that would open a way around it are dropped (capabilities(7)), for where
TaskManagers run as root.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["ConfinementError", "abi", "confine", "usable"]

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
# Remove folders and files; make devices, folders, files, sockets, pipes, symbolic links.
_CHANGE_DIR = sum(1 << bit for bit in range(4, 13))
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_OF_FILES = _WRITE_FILE | _READ_FILE | _TRUNCATE
_OF_KEPT = _READ_FILE | _READ_DIR
_SCOPE_ABSTRACT_SOCKET, _SCOPE_SIGNAL = 1 << 0, 1 << 1
_ABI_REFER, _ABI_TRUNCATE, _ABI_NET, _ABI_SCOPES = 2, 3, 4, 6
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_PR_CAPBSET_DROP = 24
_CAPABILITY_VERSION_3 = 0x20080522
# Numbers of <linux/capability.h>: dac_read_search, kill, net_admin, net_raw, sys_module, sys_rawio,
# sys_chroot, sys_ptrace, sys_admin, sys_boot, mknod, mac_override, mac_admin, syslog, perfmon, bpf,
# checkpoint_restore.
_DROPPED = (2, 5, 12, 13, 16, 17, 18, 19, 21, 22, 27, 32, 33, 34, 38, 39, 40)
_libc = ctypes.CDLL(None, use_errno=True)


class ConfinementError(Exception):
    """Say what the kernel lacks or refuses."""


def abi() -> int:
    """Return the version of Landlock that this kernel has; 0 for none (CONFIG_SECURITY_LANDLOCK, `lsm=`)."""
    try:
        return _call(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def confine(hidden: Path, kept: Sequence[Path]) -> None:
    """Hide a folder from this thread and all that it starts, for good.

    Args:
        hidden: a folder.
        kept: files and folders below it that stay readable, and folders elsewhere that stay usable.

    Raises:
        ConfinementError: if this kernel cannot; then other users' processes are at least kept from looking
            into this one.
    """
    try:
        _confine(hidden.resolve(), kept)
    except OSError as error:
        # A second best: it also keeps tools of the same user from seeing what runs here.
        _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        raise ConfinementError(
            f"Landlock: {error.strerror}; a client's code can read and change the secrets of others"
        ) from error


def usable(hidden: Path, kept: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Yield files and folders that together are everything but what is hidden, without symbolic links.

    Each comes with whether it may be changed.
    """
    for path in _beside(Path("/"), hidden):
        yield path, True
    for path in kept:
        if path.exists():
            yield path, not path.resolve().is_relative_to(hidden)


def _beside(folder: Path, hidden: Path) -> Iterator[Path]:
    try:
        children = list(os.scandir(folder))
    except OSError:
        return
    for child in children:
        path = Path(child.path)
        if path == hidden or child.is_symlink():
            continue
        if path in hidden.parents:
            yield from _beside(path, hidden)
        else:
            yield path


def _confine(hidden: Path, kept: Sequence[Path]) -> None:
    version = _call(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    handled = _WRITE_FILE | _READ_FILE | _CHANGE_DIR
    handled |= _REFER if version >= _ABI_REFER else 0
    handled |= _TRUNCATE if version >= _ABI_TRUNCATE else 0
    # Python lists a folder to find modules in it.
    if not any(Path(each).resolve() in hidden.parents for each in sys.path):
        handled |= _READ_DIR
    attributes = struct.pack("<Q", handled)
    if version >= _ABI_NET:
        attributes += struct.pack("<Q", 0)
    if version >= _ABI_SCOPES:
        attributes += struct.pack("<Q", _SCOPE_SIGNAL | _SCOPE_ABSTRACT_SOCKET)
    rules = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for path, changes in usable(hidden, kept):
            _allow(rules, path, handled if changes else handled & _OF_KEPT)
        if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        _call(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)
    _drop_capabilities()


def _drop_capabilities() -> None:
    header = struct.pack("<Ii", _CAPABILITY_VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    if _libc.capget(header, data) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    for number in _DROPPED:
        # Fails where this process may not; then it has nothing to gain either.
        _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    masks = [~sum(1 << (number - low) for number in _DROPPED if low <= number < low + 32) for low in (0, 32)]
    words = struct.unpack("<6I", data.raw)
    left = [word & masks[index // 3] & 0xFFFFFFFF for index, word in enumerate(words)]
    if _libc.capset(header, struct.pack("<6I", *left)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _allow(rules: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # gone meanwhile, or never ours to read
    try:
        allowed = rights if path.is_dir() else rights & _OF_FILES
        _call(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("<Qi", allowed, descriptor), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: int | bytes | None) -> int:
    given = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = _libc.syscall(ctypes.c_long(number), *given)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)
