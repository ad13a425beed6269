// An HTTP server. usage: node hello.js ; prints its port
const server = require('http').createServer((request, response) => response.end('hello\n'));
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
