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
    """A higher RLIMIT_NOFILE than ours: root alone is not enough, containers often lack CAP_SYS_RESOURCE."""
    if os.access('/proc/sys/fs/nr_open', os.W_OK):
        return _works(['prlimit', '--nofile=1048576:1048576', '--', 'true'], 'RLIMIT_NOFILE may not be raised here')
    return '/proc/sys/fs/nr_open is not writable'


def strace():
    if not shutil.which('strace'):
        return 'needs strace'
    return _works(['strace', '-qq', '-o', '/dev/null', '-e', 'inject=getppid:poke_exit=@arg1=00', 'true'],
                  'needs an strace that can change what a call returns in memory (5.16 or later)')


def spare_library():
    """A library in a trusted folder that nothing needs: the shim is put over it, in a mount namespace of its own."""
    found = subprocess.run(['/sbin/ldconfig', '-p'], capture_output=True, text=True, check=False).stdout
    where = [folder for folder in ('/lib/x86_64-linux-gnu', '/usr/lib64', '/lib64') if
             os.path.exists(f'{folder}/libpcprofile.so')]
    return None if where or 'libpcprofile.so' in found else 'no libpcprofile.so (libc-bin) to put the shim over'


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
