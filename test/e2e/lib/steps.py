"""Things done around a victim's start: inherited sockets, odd kinds of stderr, file systems, machine limits.

A step is named in the list of cases as before=NAME or before=NAME:ARGUMENT. Nothing runs between fork and exec in the
runner itself (it has threads): what must be done there is done by a small command around the victim."""
import fcntl
import os
import shutil
import subprocess
import threading

from peers import Activation


class Plan:
    def __init__(self, run, names):
        self.run = run
        self.around, self.env, self.fds = [], {}, ()
        self.stderr_fd = None
        self._undo = []
        self._after_start = []
        for name, _, argument in (text.partition(':') for text in names):
            step = getattr(self, 'step_' + name, None)
            if step is None:
                raise SystemExit(f'no such step: {name}')
            step(argument)

    def started(self):
        for action in self._after_start:
            action()

    def finish(self):
        for action in reversed(self._undo):
            action()
        self._undo = []

    # --- sockets that exist at start ---

    def step_inherit(self, argument):
        """inherit:FD[,listener]: as inetd (0: and 1 as well, the control channel moves to 10, 11) or systemd (3)."""
        number, _, kind = argument.partition(',')
        socket = Activation(self.run.peers, kind or 'connection').socket
        fd = fcntl.fcntl(socket.fileno(), fcntl.F_DUPFD, 50)  # above every number that the shell below uses
        socket.close()
        self.fds = (fd,)
        moves = f'10<&0 11>&1 0<&{fd} 1>&{fd}' if number == '0' else f'{number}<&{fd}'
        if number == '0':
            self.env['E2E_CTL'] = '10,11'
        self.around = ['/bin/bash', '-c', f'exec "$@" {moves} {fd}<&-', 'bash']
        self._after_start.append(lambda: os.close(fd))

    # --- file systems ---

    def _tmpfs(self, size_kib):
        path = f'{self.run.work}/full'
        os.makedirs(path, exist_ok=True)
        subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size_kib}k,mode=0700', 'tmpfs', path], check=True)
        self._undo.append(lambda: subprocess.run(['umount', '-l', path], check=False))
        return path

    def step_tmpfs(self, argument):
        """tmpfs:KIB: an empty one as {work}/full."""
        self._tmpfs(argument)

    def step_full_tmpfs(self, argument):
        """full_tmpfs:KIB: filled to the brim."""
        path = self._tmpfs(argument)
        try:
            with open(f'{path}/ballast', 'wb', buffering=0) as file:
                while file.write(b'x' * 4096):
                    pass
        except OSError:
            pass

    def step_setuid_copy(self, argument):
        """{work}/VICTIM: a set-user-id copy of it."""
        target = f'{self.run.work}/{argument}'
        subprocess.run(['cp', f'{self.run.context.victims}/{argument}', target], check=True)
        os.chmod(target, 0o4755)

    def step_trusted(self, argument):
        """{work}/trusted.sh COMMAND: puts a set-user-id copy of the shim over a library in a trusted folder, the only
        place from where the loader preloads into set-user-id programs. To be run in a mount namespace of its own."""
        copy = shutil.copy(self.run.context.library, f'{self.run.work}/trusted.so')
        os.chmod(copy, 0o4755)
        with open(f'{self.run.work}/trusted.sh', 'w', encoding='utf-8') as file:
            file.write(f'#!/bin/sh -e\nmount --make-rprivate /\nfor d in /lib/x86_64-linux-gnu /usr/lib64 /lib64; do\n'
                       f'    [ ! -e $d/{argument} ] || mount --bind {copy} $d/{argument}\ndone\nexec "$@"\n')
        os.chmod(f'{self.run.work}/trusted.sh', 0o755)

    # --- the machine ---

    def step_nr_open(self, argument):
        """Raises the machine's own limit of RLIMIT_NOFILE for this run."""
        path = '/proc/sys/fs/nr_open'
        with open(path, encoding='ascii') as file:
            before = file.read()

        def write(text):
            with open(path, 'w', encoding='ascii') as file:
                file.write(text)
        if int(before) < int(argument):
            write(argument)
            self._undo.append(lambda: write(before))

    # --- odd kinds of stderr ---

    def step_pipe(self, _):
        """A pipe whose reader copies everything into the usual file: limits on files do not reach it."""
        read, write = os.pipe()
        self.stderr_fd = write

        def copy():
            with open(f'{self.run.work}/stderr', 'ab', buffering=0) as file:
                while chunk := os.read(read, 65536):
                    file.write(chunk)
            os.close(read)
        thread = threading.Thread(target=copy, daemon=True)
        self._after_start += [thread.start, lambda: os.close(write)]
        self._undo.append(lambda: thread.join(10))

    def step_closed_pipe(self, _):
        read, write = os.pipe()
        self.stderr_fd = write
        self._after_start += [lambda: os.close(read), lambda: os.close(write)]

    def step_full_pipe(self, _):
        read, write = os.pipe()
        os.set_blocking(write, False)
        try:
            while os.write(write, b'.' * 4096):
                pass
        except BlockingIOError:
            os.set_blocking(write, True)
        self.stderr_fd = write
        self._after_start.append(lambda: os.close(write))
        self._undo.append(lambda: os.close(read))
