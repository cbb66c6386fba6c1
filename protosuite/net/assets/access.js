// Who somebody is to the server, and how a page learns that they are nobody any more.

export const UNAUTHENTICATED = 4401; // the close code of a WebSocket whose token is no longer good

const TIMEOUT = 10_000; // ms
const OPEN = { authentication: false, role: null, subject: null, expires: null };
const NOBODY = { ...OPEN, authentication: true };

/** Whom the server takes us for. `{authentication: false}` where it asks nobody. Throws if it cannot be asked. */
export async function whoAmI() {
  const options = { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) };
  const response = await fetch(new URL("whoami", document.baseURI), options);
  if (response.status === 401) return NOBODY;
  if (!response.ok) throw new TypeError(response.statusText);
  return response.json();
}

/** Where one logs in, and comes back to this page. */
export const loginAddress = () => {
  const here = location.pathname + location.search + location.hash;
  return `/login?next=${encodeURIComponent(here)}`;
};

/** What a page knows of who looks at it. */
export class Access {
  constructor(who) {
    Object.assign(this, who);
  }

  /** Ask once, when the page is opened. A server that is away is asked again when there is a connection to it. */
  static async begin() {
    try {
      return new Access(await whoAmI());
    } catch {
      return new Access(OPEN);
    }
  }

  /** Whether it makes sense to connect again. A server that does not answer may be back by then. */
  async mayConnect() {
    if (!this.authentication) return true;
    try {
      const { role, subject } = await whoAmI();
      if (role === null) return false;
      if (role !== this.role || subject !== this.subject) location.reload(); // as somebody else
      return true;
    } catch {
      return true;
    }
  }

  async logOut() {
    const response = await fetch(new URL("logout", document.baseURI), { method: "POST" });
    if (response.ok) location.assign(loginAddress());
  }
}
