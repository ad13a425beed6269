"""A server that makes a process for each connection.

usage: forking.py stuck|kept|inherited    prints its port
stuck: socketserver's; the child's handler never comes back. kept: the child ends, its parent has never closed its copy.
inherited: neither closes, and each child has all connections of the earlier ones as well."""
import multiprocessing
import signal
import socket
import socketserver
import sys


class Stuck(socketserver.BaseRequestHandler):
    def handle(self):
        answer(self.request)
        signal.pause()


def answer(client):
    client.recv(64)
    client.sendall(b'ok\n')


def answer_and_stay(client):
    answer(client)
    signal.pause()


def serve(target):
    kept = []
    context = multiprocessing.get_context('fork')
    listener = socket.create_server(('127.0.0.1', 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        kept.append(listener.accept()[0])
        context.Process(target=target, args=(kept[-1],), daemon=True).start()


def main():
    if sys.argv[1] != 'stuck':
        serve({'kept': answer, 'inherited': answer_and_stay}[sys.argv[1]])
    with socketserver.ForkingTCPServer(('127.0.0.1', 0), Stuck) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


main()
