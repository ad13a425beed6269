"""The list of cases: one line each, `NAME | COMMAND | KEY=VALUE ...`, words quoted as in a shell.

COMMAND's first word is a victim (test/e2e/victims/NAME.c) or an absolute path; {work}, {build} and {victims} are
replaced. The keys are the rows of KEYS; what they mean stands there, and a key that is not there is an error."""
import shlex

KEYS = {
    # what is done
    'end': (str, 'go', 'what happens at the "end": go (it ends by itself), a signal (TERM), or both (TERM+go)'),
    'opts': (str, '', 'more of CWGUARD_OPTIONS'),
    'env': (list, None, 'an environment variable, NAME=VALUE'),
    'out': (str, 'json', 'json: report file; stderr: JSON on stderr; text: text on stderr; dead: from `cwguard report '
                         '--dead`; nowhere: must not appear anywhere'),
    'before': (list, None, 'a named step (lib/steps.py) in the child before exec'),
    'around': (str, '', 'a command that the victim is run by: its first words'),
    'during': (list, None, 'a named check (lib/checks.py) at the victim\'s end, before it goes on'),
    'after': (list, None, 'a named check (lib/checks.py) of the whole case'),
    'needs': (str, '', 'names of requirements (lib/needs.py), separated by commas: skipped without them'),
    'covered_by': (str, '', 'the case that shows the same where `needs` is not met: such a skip is never forbidden'),
    'lib': (str, '', 'copy: the library alone, in a folder without the tool'),
    'deadline': (float, 60.0, 'seconds for one run'),
    # what is expected
    'leaks': (int, 0, 'sockets in CLOSE_WAIT at the ends, by ss (all processes of the case together)'),
    'reported': (int, -1, 'sockets that the reports list, where it is not `leaks`'),
    'queued': (int, 0, 'sockets in CLOSE_WAIT in accept queues, by ss; each is reported once. -1: some'),
    'errors': (int, 0, 'sockets that the reports list as failed and not closed'),
    'late': (int, 0, 'sockets closed late'),
    'unseen': (int, 0, 'totals.closes_unseen of all reports together'),
    'diag': (str, '', 'ID:N,...: sockets per diagnosis'),
    'origin': (str, '', 'CALL:N,...: sockets per origin.call'),
    'deciding': (str, '', 'CALL:N,...: sockets per deciding.call'),
    'ended': (str, '', 'HOW or HOW:NUMBER of every report'),
    'truth': (str, 'kernel', 'truth of every report'),
    'has': (list, None, 'a regular expression that stderr must have'),
    'hasnot': (list, None, 'one that it must not have'),
    'kept': (int, 0, 'ledgers left behind; -1: it does not matter'),
    'differs': (str, '', 'what may differ from the run without the shim: stderr, fds'),
}


class Case:
    def __init__(self, name, command, words, where):
        self.name = name
        self.command = command
        for key, (_, default, _) in KEYS.items():
            setattr(self, key, [] if default is None else default)
        for word in words:
            key, equals, value = word.partition('=')
            if key not in KEYS or not equals:
                raise SystemExit(f'{where}: no such key: {word} (the keys are: {", ".join(KEYS)})')
            kind = KEYS[key][0]
            if kind is list:
                getattr(self, key).append(value)
            else:
                setattr(self, key, kind(value))


def load(path):
    cases = []
    seen = set()
    with open(path, encoding='utf-8') as file:
        for number, line in enumerate(file, 1):
            line = line.strip()
            if not line or line.startswith('#'):
                continue
            where = f'{path}:{number}'
            lexer = shlex.shlex(line, posix=True, punctuation_chars='|')
            lexer.whitespace_split = True
            lexer.commenters = ''
            fields = [[]]
            for word in lexer:
                if word == '|':
                    fields.append([])
                else:
                    fields[-1].append(word)
            if len(fields) != 3 or len(fields[0]) != 1 or not fields[1]:
                raise SystemExit(f'{where}: not of the form NAME | COMMAND | KEY=VALUE ...')
            if fields[0][0] in seen:
                raise SystemExit(f'{where}: a second case of this name')
            seen.add(fields[0][0])
            cases.append(Case(fields[0][0], fields[1], fields[2], where))
    return cases
