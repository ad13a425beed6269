"""What a case may need of the machine: each function returns None, or the reason why it is not there."""
import os
import shutil
import subprocess


def root():
    return None if os.geteuid() == 0 else 'needs root'


def mount():
    return root() or _works(['unshare', '-m', 'true'], 'mounting is not permitted here')


def pidns():
    return root() or _works(['unshare', '-pf', '--mount-proc', 'true'], 'pid namespaces are not permitted here')


def cxx():
    return None if shutil.which('g++') else 'needs g++'


def seccomp():
    with open('/proc/self/status', encoding='utf-8') as file:
        return None if 'Seccomp:' in file.read() else 'the kernel has no seccomp filters'


def nr_open():
    return root() or (None if os.access('/proc/sys/fs/nr_open', os.W_OK) else '/proc/sys/fs/nr_open is not writable')


def _works(words, reason):
    try:
        return None if subprocess.run(words, capture_output=True, check=False).returncode == 0 else reason
    except OSError:
        return reason


def missing(names):
    for name in filter(None, names.split(',')):
        reason = globals()[name]()
        if reason:
            return reason
    return None
