"""A server whose pool of threads answers each client once, keeps the socket, and is idle then.

usage: executor.py COUNT    prints its port"""
import concurrent.futures
import socket
import sys

kept = []


def answer(client):
    client.recv(64)
    client.sendall(b'ok\n')
    kept.append(client)


def main():
    listener = socket.create_server(('127.0.0.1', 0))
    print(listener.getsockname()[1], flush=True)
    with concurrent.futures.ThreadPoolExecutor(int(sys.argv[1])) as pool:
        while True:
            pool.submit(answer, listener.accept()[0])


main()
