// counter/1 in Node, with nothing but what comes with it: `node counter_client.mjs`.
import { connect } from "node:net";

const MASK = (1n << 64n) - 1n;
const [P1, P2, P3, P4, P5] = [
  0x9e3779b185ebca87n, 0xc2b2ae3d27d4eb4fn, 0x165667b19e3779f9n, 0x85ebca77c2b2ae63n, 0x27d4eb2f165667c5n,
];
const rotated = (x, bits) => ((x << bits) | (x >> (64n - bits))) & MASK;

// XXH64 with seed 0 of fewer than 32 bytes, which the at most 20 digits always are.
function xxh64(bytes) {
  let hash = P5 + BigInt(bytes.length);
  let at = 0;
  for (; at + 8 <= bytes.length; at += 8) {
    const lane = (rotated((bytes.readBigUInt64LE(at) * P2) & MASK, 31n) * P1) & MASK;
    hash = (rotated(hash ^ lane, 27n) * P1 + P4) & MASK;
  }
  if (at + 4 <= bytes.length) {
    hash = (rotated(hash ^ ((BigInt(bytes.readUInt32LE(at)) * P1) & MASK), 23n) * P2 + P3) & MASK;
    at += 4;
  }
  for (; at < bytes.length; at++) hash = (rotated(hash ^ ((BigInt(bytes[at]) * P5) & MASK), 11n) * P1) & MASK;
  hash = ((hash ^ (hash >> 33n)) * P2) & MASK;
  hash = ((hash ^ (hash >> 29n)) * P3) & MASK;
  return hash ^ (hash >> 32n);
}

export function request(increment) {
  const frame = Buffer.alloc(16);
  frame.writeBigUInt64BE(increment, 0);
  frame.writeBigUInt64BE(xxh64(Buffer.from(increment.toString())), 8);
  return frame;
}

const socket = connect(8080, "127.0.0.1");
const waiting = []; // who asked, in the order of the requests
let rest = Buffer.alloc(0);

// The counter after `increment` (a BigInt) was added; 0n reads it.
const add = (increment) =>
  new Promise((resolve, reject) => {
    waiting.push({ resolve, reject });
    socket.write(request(increment));
  });

socket.on("data", (data) => {
  rest = Buffer.concat([rest, data]); // replies come in any pieces
  for (; rest.length >= 8; rest = rest.subarray(8)) waiting.shift().resolve(rest.readBigUInt64BE(0));
});
socket.on("error", () => {}); // "close" follows
socket.on("close", () => {
  for (const { reject } of waiting) reject(new Error("closed: what was not answered may have counted or not"));
});

const totals = await Promise.all([1n, 10n, 255n].map(add)); // all three on their way at once
console.log([...totals, await add(0n)].join(" "));
socket.end();
