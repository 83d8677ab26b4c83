"""Hide folders from this process and all that it starts: Linux's Landlock (kernel documentation, "Landlock").

Landlock allows, it does not deny: all that may be read is listed once, before the process has other threads.
So what is hidden is left out, and everything beside it is listed. A confined process can also not look into
processes outside of it (environment, memory) nor, on newer kernels, send them signals. The capabilities that
would open a way around it are dropped (capabilities(7)), for where TaskManagers run as root.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["ConfinementError", "confine", "readable"]

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_READ_FILE = 1 << 2
_REFER = 1 << 13
_SCOPE_ABSTRACT_SOCKET, _SCOPE_SIGNAL = 1 << 0, 1 << 1
_ABI_REFER, _ABI_NET, _ABI_SCOPES = 2, 4, 6
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


def confine(hidden: Path, kept: Sequence[Path]) -> None:
    """Hide a folder from this thread and all that it starts, for good.

    Args:
        hidden: a folder.
        kept: files and folders below it that stay readable, and folders elsewhere that are yet to be made.

    Raises:
        ConfinementError: if this kernel cannot; then other users' processes are at least kept from looking
            into this one.
    """
    try:
        _confine(hidden, kept)
    except OSError as error:
        # A second best: it also keeps tools of the same user from seeing what runs here.
        _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        raise ConfinementError(
            f"Landlock: {error.strerror}; a client's code can read the secrets of others"
        ) from error


def readable(hidden: Path, kept: Sequence[Path]) -> Iterator[Path]:
    """Yield files and folders that together are everything but what is hidden, without symbolic links."""
    yield from _beside(Path("/"), hidden)
    for path in kept:
        if path.exists():
            yield path


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
    abi = _call(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    handled = _READ_FILE | (_REFER if abi >= _ABI_REFER else 0)
    attributes = struct.pack("<Q", handled)
    if abi >= _ABI_NET:
        attributes += struct.pack("<Q", 0)
    if abi >= _ABI_SCOPES:
        attributes += struct.pack("<Q", _SCOPE_SIGNAL | _SCOPE_ABSTRACT_SOCKET)
    rules = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for path in readable(hidden.resolve(), kept):
            _allow(rules, path, handled)
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


def _allow(rules: int, path: Path, handled: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # gone meanwhile, or never ours to read
    try:
        allowed = handled if path.is_dir() else _READ_FILE
        _call(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("<Qi", allowed, descriptor), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: int | bytes | None) -> int:
    given = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = _libc.syscall(ctypes.c_long(number), *given)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)
