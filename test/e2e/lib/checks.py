"""Checks that only some cases need, named in the list.

during=NAME: at a victim's end, before it goes on; gets the run and the pid. after=NAME: gets the case and both runs."""
import glob
import json
import os
import subprocess
import time

from ledger import wrong_records
from kernel import close_wait_rows, tree, wait_until
from process import Failure


def ask_tool(run, pid, *more):
    """The JSON of `cwguard report PID`."""
    words = [run.context.tool, 'report', str(pid), '--ledger-dir', run.context.ledgers, '--format', 'json', *more]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode != 0:
        raise Failure(f'cwguard report {pid} ended with {done.returncode}: {done.stderr}')
    return json.loads(done.stdout)


# --- during ---

def during_running_report(run, pid):
    """Asked while it runs, the tool lists what ss lists."""
    report = ask_tool(run, pid, '--grace', '0')
    listed = {(c['local'], c['peer']) for group in report['leaks'] for c in group['connections']}
    if listed != set(run.ends[pid]) or report['truth'] != 'kernel' or report['ended']['how'] != 'running':
        raise Failure(f'of the running process: by ss {sorted(run.ends[pid])}, listed {sorted(listed)}, '
                      f'truth {report["truth"]}, ended {report["ended"]}')
    if report['totals']['closes_unseen'] != run.case.unseen:
        raise Failure(f'closes unseen while running: {report["totals"]}')


def during_shared_port(run, pid):
    """Parent and child listen on one port: between them their reports list what ss lists there, each socket once."""
    pids = sorted(tree(pid))
    reports = [ask_tool(run, one, '--grace', '0') for one in pids]
    listed = [[(c['local'], c['peer']) for group in report['leaks'] for c in group['connections']]
              for report in reports]
    if len(pids) != 2 or not all(listed) or sorted(sum(listed, [])) != sorted(run.queues[pid]):
        raise Failure(f'in the queues by ss {sorted(run.queues[pid])}, listed by {pids}: {listed}')
    for report in reports:
        for group in report['leaks']:
            if 'port_shared' not in {entry['key'] for entry in group['evidence']}:
                raise Failure(f'that others listen there too is not said: {group["evidence"]}')


def during_records_right(run, pid):
    """The ledger, read without the tool, believes in no fd that is not an open socket."""
    wrong = wrong_records(run.context.ledgers, pid, run.inner[pid])
    if wrong:
        raise Failure(f'the ledger has records of fds that are closed: {wrong}')


def during_record_wrong(run, pid):
    """One record of an fd whose close no hook saw: that the reader of ledgers finds it shows that it would find others."""
    wrong = wrong_records(run.context.ledgers, pid, run.inner[pid])
    if len(wrong) != 1:
        raise Failure(f'records of fds that are closed: {wrong}, expected one')


def during_sees_unseen(run, pid):
    """One close that no hook saw: found by asking the kernel, counted, and nothing is listed for it."""
    report = ask_tool(run, pid, '--grace', '0')
    if report['totals']['closes_unseen'] != 1 or report['leaks']:
        raise Failure(f'of the running process: {report["totals"]}, {report["leaks"]}')


def during_age_never_falls(run, pid):
    """Probes are answered all the time, and the age of each socket grows with the clock."""
    start = time.monotonic()
    samples = []

    def sample():
        report = ask_tool(run, pid, '--grace', '0')
        ages = {c['local'] + c['peer']: c['fin_age_s'] for group in report['leaks'] for c in group['connections']}
        if len(ages) != len(run.ends[pid]):
            raise Failure(f'{len(ages)} sockets listed, {len(run.ends[pid])} by ss')
        samples.append((time.monotonic() - start, ages))
        return time.monotonic() - start > 4.5
    wait_until('samples over 4.5 s', sample, 20)
    for (_, before), (_, after) in zip(samples, samples[1:]):
        for name, age in after.items():
            if age + 0.011 < before[name]:
                raise Failure(f'the age fell from {before[name]} s to {age} s')
    first_at, first = samples[0]
    last_at, last = samples[-1]
    for name, age in last.items():
        if age - first[name] < (last_at - first_at) - 1.1:
            raise Failure(f'{last_at - first_at:.1f} s later the age is {age} s, up from {first[name]} s')


def during_no_ledger(run, pid):
    """Nothing has been created for a process without sockets."""
    left = os.listdir(run.context.ledgers) + glob.glob(f'/dev/shm/cwguard-*/*.{pid}.*.cwg')
    if left:
        raise Failure(f'there is a ledger: {left}')


def during_ledger(run, pid):
    """The process has one ledger, of mode 0600, that belongs to it."""
    found = glob.glob(f'{run.context.ledgers}/*.{run.inner[pid]}.*.cwg')
    if len(found) != 1:
        raise Failure(f'{len(found)} ledgers of process {pid} in {os.listdir(run.context.ledgers)}')
    if os.stat(found[0]).st_mode & 0o7777 != 0o600:
        raise Failure(f'{found[0]} has mode {os.stat(found[0]).st_mode & 0o7777:o}')


def during_not_loaded(run, pid):
    """The shim does nothing in this process: its memory has no ledger, no unwinder."""
    with open(f'/proc/{pid}/maps', encoding='utf-8', errors='replace') as file:
        text = file.read()
    if '.cwg' in text or 'libunwind' in text:
        raise Failure('a ledger or an unwinder is mapped in a program that must stay untouched')


def during_recv_q_one(run, pid):
    """A peek has not consumed the end of stream: the kernel still counts the FIN as unread."""
    queues = [recv_q for local, peer, _, recv_q in close_wait_rows() if (local, peer) in run.ends[pid]]
    if queues != [1]:
        raise Failure(f'Recv-Q by ss: {queues}')


def during_loaded_but_idle(run, pid):
    """Loaded into a set-user-id program by the loader itself, the shim stays out of the way."""
    with open(f'/proc/{pid}/maps', encoding='utf-8', errors='replace') as file:
        text = file.read()
    if 'libpcprofile' not in text:
        raise Failure('the shim was not loaded: this shows nothing')
    during_not_loaded(run, pid)


# --- after ---

def after_no_trace(case, bare, shim):
    """Not even the folder for ledgers was touched."""
    left = os.listdir(shim.context.ledgers)
    if left:
        raise Failure(f'left behind: {left}')


def after_late_and_queued(case, bare, shim):
    """Of two listeners on one port one was closed: each of the 32 is closed late or still in the other's queue."""
    (pid,) = shim.inner.values()
    with open(f'{shim.work}/report.{pid}', encoding='utf-8') as file:
        report = json.load(file)
    late, queued = ([(c['local'], c['peer']) for group in report[name] for c in group['connections']]
                    for name in ('closed_late', 'leaks'))
    if sorted(queued) != sorted(*shim.queues.values()) or not late or len(set(late + queued)) != 32 or \
            len(late + queued) != 32:
        raise Failure(f'by ss {shim.queues}, late {late}, queued {queued}')


def after_one_frame(case, bare, shim):
    """depth=1: no stack is deeper."""
    (path,) = glob.glob(f'{shim.work}/report.*.json')
    with open(path, encoding='utf-8') as file:
        groups = json.load(file)['leaks']
    for group in groups:
        frames = [frame for frame in group['origin']['frames'] if not frame['inlined']]
        if len(frames) != 1:
            raise Failure(f'{len(frames)} frames in {group["origin"]}')


def after_untouched_file(case, bare, shim):
    """The program's own file, which had taken over number 2, is as it left it: empty."""
    with open(f'{shim.work}/file', encoding='utf-8', errors='replace') as file:
        text = file.read()
    if text:
        raise Failure(f'something was written into the program\'s own file: {text!r}')


def after_report_in_file(case, bare, shim):
    """The log that was put on fd 2 holds the report."""
    with open(f'{shim.work}/file', encoding='utf-8', errors='replace') as file:
        text = file.read()
    if f'SUMMARY: cwguard: {case.leaks} socket' not in text:
        raise Failure(f'no report in the log: {text!r}')


def dead_sockets(shim):
    """(sockets, truth) of `cwguard report --dead`."""
    words = [shim.context.tool, 'report', '--dead', '--ledger-dir', shim.context.ledgers]
    deadline = time.monotonic() + 10
    while True:
        done = subprocess.run([*words, '--format', 'json', '--exit-grace', '0'], capture_output=True, text=True, timeout=20,
                              check=False)
        if done.returncode != 0:
            raise Failure(f'cwguard report --dead ended with {done.returncode}: {done.stderr}')
        # A daemon is nobody's child here: its pipe closes a moment before it is gone.
        if done.stdout or time.monotonic() > deadline:
            break
    report = json.loads(done.stdout)
    return {(c['local'], c['peer']) for group in report['leaks'] for c in group['connections']}, report['truth']


def after_dead_matches(case, bare, shim):
    """Where nothing could be written, `cwguard report --dead` tells it: the sockets that ss showed."""
    listed, _ = dead_sockets(shim)
    wanted = {pair for ends in shim.ends.values() for pair in ends}
    if listed != wanted:
        raise Failure(f'report --dead lists {sorted(listed)}, by ss {sorted(wanted)}')


def after_dead_subset(case, bare, shim):
    """Killed before the shim had looked round: what is listed was there, and the report says that it is old."""
    listed, truth = dead_sockets(shim)
    wanted = {pair for ends in shim.ends.values() for pair in ends}
    if not listed <= wanted or truth != 'last-sweep':
        raise Failure(f'report --dead lists {sorted(listed)}, by ss {sorted(wanted)}; truth {truth}')


def after_file_names(case, bare, shim):
    """log_path=report.%e.%p.%f: program, pid, format."""
    (pid,) = shim.inner.values()
    name = f'{shim.work}/named.{os.path.basename(case.command[0])}.{pid}.json'
    if not os.path.exists(name):
        raise Failure(f'{name} is not among {os.listdir(shim.work)}')
    with open(name, encoding='utf-8') as file:
        if len([c for group in json.load(file)['leaks'] for c in group['connections']]) != case.leaks:
            raise Failure(f'{name} does not list {case.leaks} sockets')
    others = [other for other in os.listdir(shim.work) if other.startswith('named.') and not name.endswith(other)]
    if others:
        raise Failure(f'left behind beside the report: {others}')


def after_second_gets_pid(case, bare, shim):
    """Two processes, one log_path without %p: the second report has .PID at its end, and both are whole."""
    found = sorted(name for name in os.listdir(shim.work) if name.startswith('one.json'))
    pids = {}
    for name in found:
        with open(f'{shim.work}/{name}', encoding='utf-8') as file:
            pids[json.load(file)['process']['pid']] = name
    first, second = shim.inner.values()
    if pids != {first: 'one.json', second: f'one.json.{second}'}:
        raise Failure(f'reports by pid: {pids}, ends of {first} and {second}')


def find_during(name):
    return globals()['during_' + name]


def find_after(name):
    return globals()['after_' + name]
