// A TCP server that answers once and is paused then: Node reads on until its own buffer is full, and no further.
// usage: node paused.js ; prints its port
const answer = (socket) => socket.once('data', () => { socket.write('ok\n'); socket.pause(); });
const server = require('net').createServer(answer);
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
