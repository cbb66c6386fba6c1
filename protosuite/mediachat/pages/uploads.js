// Files on their way to the server, one after the other, over a connection that may break anywhere. No DOM.
//
// The server answers a head with `ready` and from where to go on. What pauses an upload is `cancel`, which keeps what
// has come of it: so after a pause, a break or a reload the same head under the same name goes on where it was.

import { CANCEL, encodeHead } from "./wire.js";

export const CHUNK = 256 * 1024; // bytes in a frame; the server takes 1 MiB unless it was told otherwise
const NEW = { file: null, sha256: null, offset: 0, detail: null, opening: null };
const AFTER = { resume: "waiting", fail: "failed" }; // a pause, by what was wished for meanwhile
const SOON = 15; // ms until we look again whether the browser has sent what it holds

/** An item is `{id, file, name, size, modified, kind, upload, sha256, state, offset, detail, opening}`.
 *
 * Its state:
 *   waiting    for its turn, or for the connection
 *   hashing    what it will be checked against
 *   asking     the head is sent
 *   sending    its bytes
 *   finishing  all bytes are sent
 *   pausing, paused
 *   stopping   it is cancelled, which the server has to hear
 *   lost       the page was loaded again: it goes on when the file is picked again
 *   failed, discarded
 */
export class Uploads {
  items = [];

  #isOpen = false;
  #active = null; // the item that the server reads
  #run = 0; // another one: what was begun before is void

  /** `owner` has send(messages), buffered(), most() bytes to buffer, read(file, from, to), hash(file) or null,
   * later(act, delay), changed() and saved(item, status). */
  constructor(owner, records = []) {
    this.#owner = owner;
    for (const record of records) this.items.push({ ...NEW, ...record, state: "lost" });
  }

  #owner;

  /** What to remember, so that a page that is loaded again can go on. */
  get records() {
    const kept = this.items.filter((item) => item.modified !== null && !["discarded", "stopping"].includes(item.state));
    return kept.map(({ id, name, size, modified, kind, upload, sha256, offset }) => ({
      id, name, size, modified, kind, upload, sha256, offset,
    }));
  }

  /** Something that is only here would be lost if the page were closed. */
  get holdsRecordings() {
    return this.items.some(({ modified, state }) => modified === null && state !== "discarded");
  }

  /** A file to send; `modified` is null for one that was made here. If it is one that was lost, that goes on. */
  add({ file, name, modified, kind, id }) {
    const lost = this.items.find(
      (item) => item.state === "lost" && item.name === name && item.size === file.size && item.modified === modified,
    );
    const size = file.size;
    const item = lost ?? { ...NEW, id, name, size, modified, kind, upload: id };
    Object.assign(item, { file, state: "waiting" });
    if (lost === undefined) this.items.push(item);
    this.#next();
    return item;
  }

  /** The server takes uploads now. */
  opened() {
    this.#isOpen = true;
    this.#next();
  }

  closed() {
    this.#isOpen = false;
    this.#run++;
    const item = this.#active;
    this.#active = null;
    if (item?.state === "pausing") item.state = AFTER[item.wish] ?? "paused";
    else if (item?.state === "stopping") this.#drop(item);
    else if (item !== null) item.state = "waiting";
    this.#owner.changed();
  }

  pause(id) {
    const item = this.#find(id);
    if (item?.state === "waiting") this.#set(item, "paused");
    else if (["hashing", "asking", "sending"].includes(item?.state)) this.#cancel(item, "pausing");
    this.#next();
  }

  /** Go on, after a pause or a failure. */
  resume(id) {
    const item = this.#find(id);
    if (item === undefined || item.file === null) return;
    if (item.state === "pausing") item.wish = "resume";
    else if (["paused", "failed"].includes(item.state)) this.#set(item, "waiting");
    this.#next();
  }

  /** Send again, as another message, what came when it was closed. */
  again(id, fresh) {
    const item = this.#find(id);
    if (item?.state !== "discarded") return;
    Object.assign(item, { id: fresh, upload: fresh, offset: 0, opening: null });
    this.#set(item, "waiting");
    this.#next();
  }

  /** Give it up. */
  remove(id) {
    const item = this.#find(id);
    if (item === undefined) return;
    if (item !== this.#active) this.#drop(item);
    else if (item.state === "pausing") item.state = "stopping";
    else if (["hashing", "asking", "sending"].includes(item.state)) this.#cancel(item, "stopping");
    this.#next();
  }

  /** The server said something that may be of an upload. Returns whether it is. */
  heard(status) {
    const item = this.#active;
    const isOurs = status.upload !== undefined && status.upload !== null;
    if (status.status === "error" && status.code === "cancelled" && !isOurs) {
      if (item === null) return false;
      this.#cancelled(item);
      return true;
    }
    if (!isOurs) return false;
    if (item?.upload !== status.upload) return true; // of one that was given up
    if (status.status === "ready") this.#ready(item, status.offset);
    else this.#settle(item, status);
    return true;
  }

  #ready(item, offset) {
    item.offset = offset;
    if (item.state === "asking") {
      this.#set(item, "sending");
      this.#pump(item, this.#run, offset);
    } else if (offset < item.size) {
      this.#owner.send([CANCEL]); // it was not wanted any more before this came
      item.isHeard = true;
    }
  }

  /** What became of the item that the server reads. */
  #settle(item, status) {
    const isBegun = item.state === "sending" || item.isHeard === true;
    const wasStopping = item.state === "stopping";
    this.#end();
    if (status.status === "saved") {
      this.#drop(item);
      this.#owner.saved(item, status);
    } else if (wasStopping) {
      this.#drop(item);
    } else if (status.status === "discarded") {
      item.opening = status.next_open_at ?? null;
      this.#set(item, "discarded");
    } else {
      if (isBegun && !item.isHeard) this.#owner.send([CANCEL]); // the rest of its bytes does not come
      item.detail = status.detail ?? status.code ?? "it was refused";
      this.#set(item, "failed");
    }
    this.#next();
  }

  #cancelled(item) {
    const wish = item.wish;
    this.#end();
    if (item.state === "stopping") this.#drop(item);
    else this.#set(item, AFTER[wish] ?? "paused");
    this.#next();
  }

  /** Stop sending. A server that has not answered the head yet is told when it has. */
  #cancel(item, state) {
    if (item.state === "hashing") {
      this.#end();
      if (state === "stopping") this.#drop(item);
      else this.#set(item, "paused");
      return;
    }
    item.isHeard = item.state === "sending";
    item.wish = null;
    if (item.isHeard) this.#owner.send([CANCEL]);
    this.#set(item, state);
  }

  /** Whatever was being done is done. */
  #end() {
    this.#active = null;
    this.#run++;
  }

  #next() {
    if (this.#isOpen && this.#active === null) {
      const item = this.items.find(({ state }) => state === "waiting");
      if (item !== undefined) this.#begin(item);
    }
    this.#owner.changed();
  }

  async #begin(item) {
    const run = ++this.#run;
    this.#active = item;
    Object.assign(item, { isHeard: false, wish: null, detail: null });
    if (item.sha256 === null) {
      this.#set(item, "hashing");
      let sha256 = null;
      try {
        sha256 = await this.#owner.hash(item.file);
      } catch (error) {
        if (run === this.#run) this.#unreadable(item, error);
        return;
      }
      if (run !== this.#run) return;
      item.sha256 = sha256;
    }
    this.#set(item, "asking");
    this.#owner.send([encodeHead(item)]);
  }

  async #pump(item, run, from) {
    const { buffered, most, read, send, later } = this.#owner;
    for (let offset = from; offset < item.size; ) {
      if (buffered() >= most()) {
        item.offset = Math.max(item.offset, offset - buffered());
        this.#owner.changed();
        await new Promise((resolve) => later(resolve, SOON));
        if (run !== this.#run || item.state !== "sending") return;
        continue;
      }
      const end = Math.min(offset + CHUNK, item.size);
      let bytes;
      try {
        bytes = await read(item.file, offset, end);
        if (bytes.byteLength !== end - offset) throw new Error("the file has changed");
      } catch (error) {
        if (run === this.#run && item.state === "sending") this.#unreadable(item, error);
        return;
      }
      if (run !== this.#run || item.state !== "sending") return;
      send([bytes]);
      offset = end;
      item.offset = Math.max(from, offset - buffered());
      this.#owner.changed();
    }
    this.#set(item, "finishing");
  }

  #unreadable(item, error) {
    console.warn(error);
    item.detail = "this file cannot be read any more";
    if (item.state === "sending") {
      this.#cancel(item, "pausing");
      item.wish = "fail";
      return;
    }
    this.#end();
    this.#set(item, "failed");
    this.#next();
  }

  #find(id) {
    return this.items.find((item) => item.id === id);
  }

  #set(item, state) {
    item.state = state;
    this.#owner.changed();
  }

  #drop(item) {
    this.items = this.items.filter((other) => other !== item);
  }
}
