// The HTTP API, as a page calls it.

const TIMEOUT = 20_000; // ms

/** The server refused; `message` says why, and `status` is that of HTTP. */
export class Refusal extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export const address = (path, query = {}) => {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  return url;
};

/** The address of what comes over a WebSocket. */
export const socketAddress = (path) => {
  const url = address(path);
  url.protocol = url.protocol.replace("http", "ws");
  url.search = url.hash = "";
  return url.href;
};

async function ask(path, query, options) {
  const response = await fetch(address(path, query), { ...options, signal: AbortSignal.timeout(TIMEOUT) });
  const body = await response.json();
  if (!response.ok) throw new Refusal(response.status, body.detail ?? response.statusText);
  return body;
}

export const get = (path, query) => ask(path, query, { cache: "no-store" });

export const post = (path, fields) =>
  ask(path, {}, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(fields) });

/** Post the bytes of a file; `progressed` is told how many are sent. Returns `{done, abort}`. */
export function upload(path, query, file, progressed) {
  const request = new XMLHttpRequest();
  const done = new Promise((resolve, reject) => {
    request.upload.onprogress = ({ loaded }) => progressed(loaded);
    request.onload = () => {
      const body = request.response ?? {};
      if (request.status < 300 && request.response !== null) resolve(body);
      else reject(new Refusal(request.status, body.detail ?? request.statusText));
    };
    request.onerror = () => reject(new TypeError("the connection broke"));
    request.onabort = () => reject(new DOMException("it was cancelled", "AbortError"));
  });
  request.open("POST", address(path, query));
  request.responseType = "json";
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.send(file);
  return { done, abort: () => request.abort() };
}
