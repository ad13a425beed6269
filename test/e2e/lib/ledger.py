"""Reads a living process's ledger by itself, without the tool: which fds does the recorder believe to be TCP sockets?

Layout: include/cwguard_ledger.h. A raised version there is an error here until this file has been looked at."""
import glob
import os
import struct

from process import Failure

VERSION, CONNS = 2, 1
IN_USE, LATE = 1 << 0, 1 << 13
FD_OFFSET = 168  # struct cw_conn.fd


def believed_open(path):
    """fds of the records in use, those kept for the report apart."""
    with open(path, 'rb') as file:
        header = file.read(24 + 24 * 8)
        magic, version = struct.unpack_from('=8sI', header)
        if magic != b'cwguard\n' or version != VERSION:
            raise Failure(f'{path}: magic {magic}, version {version}, which this reader does not know')
        offset, stride, _, used, _ = struct.unpack_from('=QIIII', header, 24 + 24 * CONNS)
        file.seek(offset)
        records = file.read(stride * used)
    fds = []
    for at in range(stride, len(records) - stride + 1, stride):
        (flags,) = struct.unpack_from('=I', records, at)
        if flags & IN_USE and not flags & LATE:
            fds.append(struct.unpack_from('=i', records, at + FD_OFFSET)[0])
    return fds


def wrong_records(folder, pid, inner=None):
    """fds that the ledger believes open and that are no socket of the process: closes that no hook saw."""
    found = glob.glob(f'{folder}/*.{inner or pid}.*.cwg')
    if len(found) != 1:
        raise Failure(f'{len(found)} ledgers of process {pid} in {folder}')
    wrong = []
    for fd in believed_open(found[0]):
        try:
            if not os.readlink(f'/proc/{pid}/fd/{fd}').startswith('socket:'):
                wrong.append(fd)
        except OSError:
            wrong.append(fd)
    return wrong
