// bus/1 in Node with protobufjs: `npm install protobufjs`, then `node bus_client.cjs` beside bus.proto.
const { connect } = require("node:net");
const protobuf = require("protobufjs");

const root = protobuf.loadSync("bus.proto");
const ClientMessage = root.lookupType("protosuite.bus.ClientMessage");
const ServerMessage = root.lookupType("protosuite.bus.ServerMessage");

// The messages that `buffer` holds whole, and the bytes behind them.
function taken(buffer) {
  const messages = [];
  let begin = 0;
  for (;;) {
    const reader = protobuf.Reader.create(buffer.subarray(begin));
    try {
      reader.uint32(); // the tag
      reader.skip(reader.uint32()); // the length, and so many bytes
    } catch (error) {
      if (error instanceof RangeError) return [messages, buffer.subarray(begin)]; // not all of it has come
      throw error;
    }
    messages.push(ServerMessage.decode(buffer.subarray(begin, begin + reader.pos)));
    begin += reader.pos;
  }
}

const socket = connect(8081, "127.0.0.1");
// A message is its own frame: what the library encodes is what is sent.
const send = (fields) => socket.write(ClientMessage.encode(ClientMessage.fromObject(fields)).finish());

let rest = Buffer.alloc(0);
socket.on("data", (data) => {
  const [messages, left] = taken(Buffer.concat([rest, data]));
  rest = left;
  for (const message of messages) answered(message);
});
socket.on("error", (error) => console.error(error.message));

function answered({ message, ...fields }) {
  const body = fields[message] ?? {};
  if (message === "echoMessage") console.log("echo", body.content);
  if (message === "addResponse") console.log("add", body.result);
  if (message === "receipt") console.log("receipt", String(body.id), String(body.sequence));
  if (message === "error") console.log("error", body.code, body.message);
  if (message === "event") {
    console.log("event", body.topic, Buffer.from(body.payload).toString());
    send({ ack: { delivery: body.delivery } }); // it is stored for us until we say this
    send({ unsubscribe: { pattern: "sensor.#", durable: "from-node" } }); // and delete the subscription
    socket.end(); // what the server still owes comes before its own end
  }
}

send({ echoMessage: { content: "héllo" } });
send({ addRequest: { a: 5, b: 7 } });
send({ subscribe: { pattern: "sensor.#", durable: "from-node" } });
send({ publish: { topic: "sensor.kitchen", payload: Buffer.from("21.5"), contentType: "text/plain", id: 1 } });
