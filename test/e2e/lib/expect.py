"""What must hold after a case's two runs: the shim changed nothing, and its reports say what ss said."""
import glob
import json
import os
import re
import subprocess

from process import Failure


def same(what, bare, shim):
    if bare != shim:
        raise Failure(f'{what} differs: without the shim {bare!r}, with it {shim!r}')


def unchanged(case, bare, shim):
    """Status, output, fds, threads and children as without the shim."""
    same('exit status (negative: signal)', bare.status, shim.status)
    same('stdout', bare.output, shim.output)
    if 'fds' not in case.differs:
        same('fd tables at the ends', list(bare.tables.values()), list(shim.tables.values()))
    same('numbers of threads at the ends', list(bare.threads.values()), list(shim.threads.values()))
    same('numbers of children at the ends', list(bare.children.values()), list(shim.children.values()))


def sections(report, name):
    """(group, connection) of a list of groups."""
    return [(group, connection) for group in report[name] for connection in group['connections']]


def parse_counts(text):
    return {word.split(':')[0]: int(word.split(':')[1]) for word in text.split(',') if word}


def tally(values):
    counts = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return counts


def read_reports(case, shim):
    """Every report of the case, as parsed JSON."""
    if case.out == 'json':
        texts = []
        for path in sorted(glob.glob(f'{shim.work}/report.*')):
            with open(path, encoding='utf-8') as file:
                texts.append((path, file.read()))
    elif case.out == 'stderr':
        texts = [('stderr', part) for part in re.findall(r'(?ms)^\{.*?^\}$|^\{.*\}$', shim.stderr)]
    elif case.out == 'dead':
        texts = [('cwguard report --dead', dead_report(case, shim))] if case.leaks else []
    else:
        return []
    reports = []
    for name, text in texts:
        try:
            reports.append(json.loads(text))
        except ValueError as error:
            raise Failure(f'{name} is no JSON: {error}') from error
    return reports


def dead_report(case, shim):
    """What the tool says of the ledger that was left behind; by --dead and by the file's name alike."""
    found = glob.glob(f'{shim.context.ledgers}/*.cwg')
    if len(found) != 1:
        raise Failure(f'{len(found)} ledgers left in {shim.context.ledgers}, expected 1')
    outputs = []
    for words in (['--dead', '--ledger-dir', shim.context.ledgers], found):
        done = subprocess.run([shim.context.tool, 'report', *words, '--format', 'json', '--exit-grace', '0'],
                              capture_output=True, text=True, timeout=20, check=False)
        if done.returncode != 0:
            raise Failure(f'cwguard report {" ".join(words)} ended with {done.returncode}: {done.stderr}')
        outputs.append(done.stdout)
    first, second = (sorted(addresses(json.loads(text))) for text in outputs)
    same('the sockets of report --dead and report FILE', first, second)
    return outputs[0]


def leaks(report, queued=False):
    """(group, connection) of the sockets that the process has, or of those that wait to be accepted."""
    return [pair for pair in sections(report, 'leaks') if (pair[0]['diagnosis'] == 'never-accepted') == queued]


def addresses(report, queued=False):
    return {(connection['local'], connection['peer']) for _, connection in leaks(report, queued)}


def check_against_ss(case, shim, reports):
    """The set of sockets of each process that reports is the one that ss showed for it just before its end."""
    if case.reported < 0:
        seen = {}
        for report in reports:
            pid = report['process']['pid']
            if pid in seen:
                raise Failure(f'two reports of process {pid}')
            seen[pid] = report
        inside = {shim.inner[pid]: ends for pid, ends in shim.ends.items()}
        for pid, ends in inside.items():
            if not ends and pid not in seen:
                continue
            if pid not in seen:
                raise Failure(f'no report of process {pid}, which has by ss {sorted(ends)}')
            same(f'sockets of process {pid} (first: ss, second: the report)', sorted(ends),
                 sorted(addresses(seen[pid])))
            for _, connection in leaks(seen[pid]):
                fds = ends[(connection['local'], connection['peer'])]
                if connection['fd'] not in fds:
                    raise Failure(f'{connection["local"]} is fd {fds} by ss, but {connection["fd"]} in the report')
        strangers = [pid for pid, report in seen.items() if pid not in inside and leaks(report)]
        if strangers:
            raise Failure(f'reports of processes that never came to an end: {strangers}')
        wanted = case.leaks
    else:
        wanted = case.reported
    listed = sum(len(leaks(report)) for report in reports)
    same('number of leaked sockets (first: expected, second: listed)', wanted, listed)


def check_queues(case, shim, reports):
    """What waits in accept queues belongs to no process: all of it is listed, once, and without an fd."""
    pairs = [pair for report in reports for pair in leaks(report, queued=True)]
    same('queued sockets (first: ss, second: the reports)', sorted(set().union(*shim.queues.values())),
         sorted((connection['local'], connection['peer']) for _, connection in pairs))
    if case.queued >= 0:
        same('queued sockets (first: expected, second: listed)', case.queued, len(pairs))
    elif not pairs:
        raise Failure('no queued socket is listed')
    fds = {connection['fd'] for _, connection in pairs}
    if fds - {None}:
        raise Failure(f'sockets in a queue have fds in the report: {fds}')


def check_errors(case, shim, reports):
    """Sockets listed as failed are open sockets of the process that ss does not list."""
    inside = {shim.inner[pid]: fds for pid, fds in shim.unlisted.items()}
    for report in reports:
        for _, connection in sections(report, 'errors'):
            pid = report['process']['pid']
            if connection['fd'] not in inside.get(pid, ()) or connection['state'] != 'CLOSE':
                raise Failure(f'listed as failed: {connection}; in no list of the kernel: {inside}')
        same('totals.errors', len(sections(report, 'errors')), report['totals']['errors'])
    same('sockets listed as failed (first: expected)', case.errors,
         sum(len(sections(report, 'errors')) for report in reports))


def check_details(case, reports):
    for report in reports:
        totals = report['totals']
        errors = len(sections(report, 'leaks'))
        same('totals.leaked + totals.notes and the connections listed', totals['leaked'] + totals['notes'], errors)
        same('totals.close_wait + queued and leaked + notes + settling', totals['close_wait'] + totals['queued'],
             totals['leaked'] + totals['notes'] + totals['settling'])
        if report['truth'] != case.truth:
            raise Failure(f'truth is {report["truth"]}, expected {case.truth}')
        if case.ended:
            how, _, number = case.ended.partition(':')
            ended = report['ended']
            got = ended['signal'] if how in ('signal', 'killed') else ended['status']
            same('ended', (how, number), (ended['how'], str(got) if number else ''))
        for group in report['leaks'] + report['errors'] + report['closed_late']:
            same('count of a group and its connections', group['count'], len(group['connections']))
            if group['diagnosis'] == 'fin-unread':
                raise Failure(f'ends in fin-unread, a gap in our facts: {group["evidence"]}')
    pairs = [pair for report in reports for name in ('leaks', 'errors') for pair in sections(report, name)]
    wants = (('diag', lambda group: group['diagnosis']), ('origin', lambda group: group['origin']['call']),
             ('deciding', lambda group: (group['deciding'] or {}).get('call')))
    for key, of in wants:
        if getattr(case, key):
            same(f'sockets per {key} (first: expected)', parse_counts(getattr(case, key)),
                 tally(of(group) for group, _ in pairs))
    same('sockets closed late (first: expected)', case.late,
         sum(len(sections(report, 'closed_late')) for report in reports))
    same('closes unseen (first: expected)', case.unseen, sum(report['totals']['closes_unseen'] for report in reports))


def check_text(case, shim):
    match = re.findall(r'^SUMMARY: cwguard: (\d+) sockets? left in CLOSE_WAIT by \d+ code paths?', shim.stderr, re.M)
    if case.leaks and not match:
        raise Failure(f'no SUMMARY line on stderr: {shim.stderr[-300:]!r}')
    same('sockets in the SUMMARY line (first: expected)', case.leaks if case.reported < 0 else case.reported,
         sum(int(number) for number in match))


def check_stderr(case, bare, shim):
    for pattern in case.has:
        if not re.search(shim.fill(pattern), shim.stderr, re.M | re.S):
            raise Failure(f'stderr lacks {pattern!r}: {shim.stderr[-1500:]!r}')
    for pattern in case.hasnot:
        if re.search(shim.fill(pattern), shim.stderr, re.M | re.S):
            raise Failure(f'stderr has {pattern!r}: {shim.stderr[-1500:]!r}')
    if case.out in ('json', 'dead', 'nowhere') and 'stderr' not in case.differs and not case.has:
        same('stderr', bare.stderr, shim.stderr)


def check_ledgers(case, shim):
    left = [name for name in os.listdir(shim.context.ledgers) if name.endswith('.cwg')]
    if case.kept < 0:
        return
    wanted = case.kept + (1 if case.out == 'dead' and case.leaks else 0)
    same('ledgers left behind (first: expected)', wanted, len(left))


def all_of(case, bare, shim):
    unchanged(case, bare, shim)
    for run, name in ((bare, 'without'), (shim, 'with')):
        same(f'sockets in CLOSE_WAIT by ss at the ends, {name} the shim (first: expected)', case.leaks,
             sum(len(ends) for ends in run.ends.values()))
    check_stderr(case, bare, shim)
    if case.out == 'text':
        check_text(case, shim)
    elif case.out != 'nowhere':
        reports = read_reports(case, shim)
        check_against_ss(case, shim, reports)
        check_queues(case, shim, reports)
        check_errors(case, shim, reports)
        check_details(case, reports)
    check_ledgers(case, shim)
