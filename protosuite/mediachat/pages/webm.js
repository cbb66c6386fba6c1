// A recording gets its length. What a browser records is a WebM stream, which does not say how long it is, and so
// players could neither show that nor jump in it. Pure.
//
// EBML: an element is an id, a size and that many bytes. In the segment is an Info element, and in that belongs the
// Duration, a float in units of the TimestampScale, a million nanoseconds unless it says otherwise.

const EBML = 0x1a45dfa3;
const SEGMENT = 0x18538067;
const INFO = 0x1549a966;
const DURATION = 0x4489;
const SCALE = 0x2ad7b1;
const LOOK = 4096; // bytes within which the Info begins

/** The same recording with its duration in it; as it came if it is nothing that we know. */
export async function withDuration(blob, milliseconds) {
  const head = new Uint8Array(await blob.slice(0, LOOK).arrayBuffer());
  const patched = patch(head, milliseconds);
  return patched === null ? blob : new Blob([patched, blob.slice(head.length)], { type: blob.type });
}

/** The beginning of a file with a Duration in its Info; null if there is no place for it. */
export function patch(head, milliseconds) {
  try {
    const first = element(head, 0);
    const segment = element(head, first.end);
    if (first.id !== EBML || segment.id !== SEGMENT || segment.size !== null) return null; // other sizes would change
    let info = element(head, segment.data);
    while (info.id !== INFO) info = element(head, info.end);
    let scale = 1_000_000;
    for (let at = info.data; at < info.end; ) {
      const inner = element(head, at);
      if (inner.id === DURATION) return null;
      if (inner.id === SCALE) scale = number(head.subarray(inner.data, inner.end));
      at = inner.end;
    }
    const duration = new DataView(new ArrayBuffer(11));
    duration.setUint16(0, DURATION);
    duration.setUint8(2, 0x88);
    duration.setFloat64(3, (milliseconds * 1_000_000) / scale);
    const size = new DataView(new ArrayBuffer(8));
    size.setBigUint64(0, (1n << 56n) | BigInt(info.size + duration.byteLength)); // in eight bytes
    const parts = [
      head.subarray(0, info.begin + 4),
      new Uint8Array(size.buffer),
      head.subarray(info.data, info.end),
      new Uint8Array(duration.buffer),
      head.subarray(info.end),
    ];
    const patched = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      patched.set(part, at);
      at += part.length;
    }
    return patched;
  } catch {
    return null; // it ended before
  }
}

/** The element that begins at `begin`; `size` is null where it is not known. */
function element(bytes, begin) {
  const idLength = Math.clz32(byte(bytes, begin)) - 23;
  const id = number(bytes.subarray(begin, begin + idLength));
  const sizeLength = Math.clz32(byte(bytes, begin + idLength)) - 23;
  const field = bytes.slice(begin + idLength, begin + idLength + sizeLength);
  field[0] &= 0xff >> sizeLength;
  const isUnknown = field.every((each, index) => each === (index === 0 ? 0xff >> sizeLength : 0xff));
  const data = begin + idLength + sizeLength;
  const size = isUnknown ? null : number(field);
  if (size !== null && id !== SEGMENT && data + size > bytes.length) throw new RangeError();
  return { id, begin, data, size, end: data + (size ?? 0) };
}

const number = (bytes) => bytes.reduce((sum, each) => sum * 256 + each, 0);

const byte = (bytes, at) => {
  if (at >= bytes.length || bytes[at] === 0) throw new RangeError();
  return bytes[at];
};
