"""What the kernel says: ss, /proc, and waiting for either to say something.

Everything here reads the system as any user could, without the shim: it is what reports are held against."""
import os
import re
import subprocess
import time


class Timeout(Exception):
    """A condition did not come true in time."""


def wait_until(what, condition, seconds=20.0):
    """The first true value of condition(); else Timeout naming `what`. The only place where tests let time pass."""
    end = time.monotonic() + seconds
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Timeout(f"waited {seconds:g} s for: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


USER = re.compile(r'pid=(\d+),fd=(\d+)')


def close_wait_rows(owners=True):
    """[(local, peer, [(pid, fd)], recv_q)] of every TCP socket in CLOSE_WAIT, addresses as ss writes them."""
    flags = '-tanpH' if owners else '-tanH'
    out = subprocess.run(['ss', flags, 'state', 'close-wait'], capture_output=True, text=True, check=True).stdout
    rows = []
    for line in out.splitlines():
        words = line.split(None, 4)
        users = [(int(p), int(f)) for p, f in USER.findall(words[4])] if len(words) > 4 else []
        rows.append((words[2], words[3], users, int(words[0])))
    return rows


def all_ends():
    """{(local, peer)} of every TCP socket that ss lists, TIME-WAIT apart."""
    out = subprocess.run(['ss', '-tanH', 'exclude', 'time-wait'], capture_output=True, text=True, check=True).stdout
    return {(plain(words[3]), plain(words[4])) for words in (line.split() for line in out.splitlines())}


def close_wait_of(pid):
    """{(local, peer): [fd, ...]} of one process."""
    found = {}
    for local, peer, users, _ in close_wait_rows():
        fds = [fd for owner, fd in users if owner == pid]
        if fds:
            found[(local, peer)] = fds
    return found


def queued_for(pid):
    """{(local, peer)} in CLOSE_WAIT that belong to no fd, on the local ports that the process listens on."""
    out = subprocess.run(['ss', '-tlnpH'], capture_output=True, text=True, check=True).stdout
    ports = set()
    for line in out.splitlines():
        words = line.split(None, 5)
        if len(words) > 5 and any(int(owner) == pid for owner, _ in USER.findall(words[5])):
            ports.add(words[3].rpartition(':')[2])
    return {(local, peer) for local, peer, users, _ in close_wait_rows()
            if not users and local.rpartition(':')[2] in ports}


def unlisted_sockets_of(pid):
    """The fds of sockets that no table of the kernel lists: TCP sockets in state CLOSE, bound or not."""
    listed = set()
    for table, column in (('tcp', 9), ('tcp6', 9), ('udp', 9), ('udp6', 9), ('unix', 6), ('netlink', 9), ('packet', 8)):
        try:
            with open(f'/proc/{pid}/net/{table}', encoding='ascii', errors='replace') as file:
                listed |= {words[column] for words in (line.split() for line in file) if len(words) > column}
        except OSError:
            continue
    fds = set()
    for entry in os.listdir(f'/proc/{pid}/fd'):
        try:
            match = re.fullmatch(r'socket:\[(\d+)\]', os.readlink(f'/proc/{pid}/fd/{entry}'))
        except OSError:
            continue
        if match and match.group(1) not in listed:
            fds.add(int(entry))
    return fds


def plain(address):
    """An address without the IPv4-mapped prefix, so that both ends of a connection compare equal."""
    return re.sub(r'^\[::ffff:([0-9.]+)\]', r'\1', address)


def ss_address(name):
    """A socket's name as ss writes it."""
    host, port = name[0], name[1]
    return f'[{host}]:{port}' if ':' in host else f'{host}:{port}'


def pids_with(marker):
    """Every process whose environment at exec had this marker (NAME=VALUE)."""
    found = []
    wanted = marker.encode()
    for entry in os.listdir('/proc'):
        if not entry.isdigit():
            continue
        try:
            with open(f'/proc/{entry}/environ', 'rb') as file:
                if wanted in file.read().split(b'\0'):
                    found.append(int(entry))
        except OSError:
            continue
    return found


def tree(root):
    """A process and all its descendants that live."""
    parents = {}
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            parent = status_field(entry, 'PPid')
            if parent is not None:
                parents[int(entry)] = int(parent)
    found, grown = {root}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        grown = bool(more)
        found |= more
    return found & set(parents)


def status_field(pid, name):
    """A field of /proc/PID/status, or None."""
    try:
        with open(f'/proc/{pid}/status', encoding='utf-8', errors='replace') as file:
            for line in file:
                if line.startswith(name + ':'):
                    return line.split(':', 1)[1].strip()
    except OSError:
        pass
    return None


def host_pid(pid, marker):
    """The pid that we know for the one a victim knows itself by (they differ in a pid namespace)."""
    ours = pids_with(marker)
    if pid in ours and (status_field(pid, 'NSpid') or '').split()[-1:] == [str(pid)]:
        return pid
    for candidate in ours:
        if (status_field(candidate, 'NSpid') or '').split()[-1:] == [str(pid)]:
            return candidate
    return pid


def fd_table(pid):
    """{fd: kind of file} with numbers that differ from run to run removed."""
    table = {}
    for entry in os.listdir(f'/proc/{pid}/fd'):
        try:
            target = os.readlink(f'/proc/{pid}/fd/{entry}')
        except OSError:
            continue
        table[int(entry)] = re.sub(r'/(bare|shim)/', '/RUN/', re.sub(r'\[\d+\]', '[N]', target))
    return table


def children_of(pid):
    """How many children a process has, zombies included."""
    count = 0
    for task in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{task}/children', encoding='ascii') as file:
            count += len(file.read().split())
    return count
