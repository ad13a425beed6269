"""A WSGI application that keeps a copy of every connection's socket."""
kept = []


def application(environ, start_response):
    kept.append(environ['gunicorn.socket'].dup())
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', '3')])
    return [b'ok\n']
