// A TCP server that answers, and does not close when its client does. usage: node halfopen.js ; prints its port
const answer = (socket) => socket.on('data', () => socket.write('ok\n'));
const server = require('net').createServer({ allowHalfOpen: true }, answer);
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
