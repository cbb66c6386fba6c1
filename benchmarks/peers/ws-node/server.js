// A room that repeats what is said to all who are in it, on Node's `ws`, the usual choice for that.
// It stores nothing. The message is encoded once and its bytes are sent to everybody.
//   node server.js PORT
const { WebSocketServer } = require('ws');

const server = new WebSocketServer({ host: '127.0.0.1', port: Number(process.argv[2]), perMessageDeflate: false });
let slot = 0;

server.on('connection', (socket) => {
  socket.on('error', () => socket.terminate());
  socket.on('message', (data) => {
    const { author, content, seq } = JSON.parse(data);
    slot += 1;
    const entry = { slot, author, content, at: Date.now(), seq };
    const ack = Buffer.from(JSON.stringify({ type: 'ServerAck', entry }));
    for (const member of server.clients) {
      member.send(ack, { binary: false });
    }
  });
});
