/** The connection of this page: its form, its status, its figures. */

import { connect } from "../client/fastws.js";
import { byId } from "./elements.js";

const PATHS = { channels: "", rooms: "api/v1/ws", workspaces: "ws", jobs: "ws" };
const NEEDS_TOKEN = new Set(["rooms", "workspaces"]);
// Errors of the client itself: those of the server stand in the log as messages.
const OWN_ERRORS = new Set(["invalid_message", "internal"]);
const WORDS = {
  connecting: "Connecting",
  connected: "Connected",
  reconnecting: "Connecting again",
  disconnected: "Not connected",
};

// The close code of a connection that ended without a close, or never began.
const LOST = 1006;
const JWT = /^[\w.-]+$/;
const IS_TOKEN_GOOD = "the server is there, but does not let this page in: is the token good?";
const IS_REFUSED = "the server is there, but does not let this page in; its log says why";
const WHY = {
  404: "no WebSocket is served at this address",
  503: "the server takes nobody in just now: it is full, stopping or switched off",
};

/** The server's own address: the page may lie under a prefix of a proxy. */
export const HOME = new URL(".", document.baseURI);

export class Connection {
  client = null;
  #log;
  #changed;
  #count = 0;
  #isMeasuring = false;
  #measured = new Set();
  #counted = 0;
  #since = null;
  #hasAskedWhy = false;

  /** `changed(client, status)` is called with every status; `client` is null where there is no connection. */
  constructor(log, changed) {
    this.#log = log;
    this.#changed = changed;
    byId("connect-form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.client) this.close();
      else this.open();
    });
    byId("dialect").addEventListener("change", () => this.#fitDialect());
    this.#fitDialect();
    setInterval(() => this.#tick(), 1000);
  }

  get dialect() {
    return byId("dialect").value;
  }

  get isConnected() {
    return this.client?.status === "connected";
  }

  open() {
    const dialect = this.dialect;
    const address = byId("url").value.trim();
    const options = {
      url: address,
      dialect,
      format: byId("format").value,
      token: byId("token").value.trim() || null,
      workspaceId: dialect === "workspaces" ? byId("workspace").value.trim() || null : null,
      reconnect: byId("reconnect").checked,
      onTraffic: (direction, message, frame) => this.#hear(direction, message, frame),
      onStatus: (change) => this.#status(change),
      onError: (error) => OWN_ERRORS.has(error.code) && this.#log.note(`${error.code}: ${error.message}`),
      onGap: ({ source }) =>
        source === "reconnect" && this.#log.note("what was said while this page was away was missed"),
    };
    if (options.token && !JWT.test(options.token)) {
      this.#log.note("cannot connect: the token has a character that no JWT has; was it broken when it was copied?");
      return;
    }
    this.#count = this.#counted = 0;
    this.#hasAskedWhy = false;
    this.#measured.clear();
    try {
      this.client = connect(options);
    } catch (error) {
      this.#log.note(`cannot connect: ${error.message}`);
      return;
    }
  }

  close() {
    this.client.close();
  }

  /** Milliseconds to the server and back; the message for it and its reply are neither shown nor counted. */
  measure() {
    this.#isMeasuring = true;
    try {
      return this.client.ping();
    } finally {
      this.#isMeasuring = false;
    }
  }

  #hear(direction, message, frame) {
    if (this.#isMeasuring) this.#measured.add(message.id);
    if (this.#isMeasuring || (direction === "in" && this.#measured.delete(message.id))) return;
    if (direction === "in") this.#count += 1;
    this.#log.add(direction, message, frame);
  }

  #status({ status, code, reason, delay }) {
    if (code !== undefined) this.#log.note(ending(code, reason, delay));
    if (code === LOST && !this.#hasAskedWhy) this.#askWhy();
    if (status === "connected") this.#hasAskedWhy = false;
    if (status === "connected") this.#log.note(`connected to ${byId("url").value}`);
    this.#since = status === "connected" ? Date.now() : null;
    if (status === "disconnected") this.client = null;
    byId("status").dataset.status = status;
    const what = status === "connected" ? ` · ${this.dialect} · ${byId("format").selectedOptions[0].text}` : "";
    byId("status-text").textContent = WORDS[status] + what;
    byId("connect").textContent = this.client ? "Disconnect" : "Connect";
    byId("connect").classList.toggle("main", this.client === null);
    document.body.dataset.status = status;
    for (const id of ["dialect", "format", "url", "workspace", "token", "reconnect"])
      byId(id).disabled = this.client !== null;
    this.#tick();
    this.#changed(this.client, status);
  }

  /** A browser hides why there is no connection: 1006 is all it says. A plain request to the same address tells. */
  async #askWhy() {
    this.#hasAskedWhy = true;
    const place = new URL(byId("url").value.trim().replace(/^ws/i, "http"), HOME);
    // What another server answers is not shown to this page.
    if (place.origin !== HOME.origin) return;
    const why = await fetch(place, { cache: "no-store" }).then(
      ({ status }) => WHY[status] ?? (byId("token").value ? IS_TOKEN_GOOD : IS_REFUSED),
      () => "the server does not answer",
    );
    this.#log.note(why);
  }

  #tick() {
    byId("count").textContent = this.#count.toLocaleString();
    byId("rate").textContent = Math.max(0, this.#count - this.#counted).toLocaleString();
    this.#counted = this.#count;
    byId("uptime").textContent = this.#since === null ? "–" : duration(Date.now() - this.#since);
  }

  #fitDialect() {
    const dialect = this.dialect;
    byId("url").value = new URL(PATHS[dialect], HOME).href.replace(/^http/, "ws");
    byId("workspace-label").hidden = dialect !== "workspaces";
    byId("token").required = NEEDS_TOKEN.has(dialect);
    byId("token-hint").textContent = NEEDS_TOKEN.has(dialect)
      ? "required"
      : dialect === "jobs"
        ? "unused at /ws"
        : "optional";
    this.#changed(null, "disconnected");
  }
}

function ending(code, reason, delay) {
  const again = delay === undefined ? "" : `; again in ${(delay / 1000).toFixed(1)} s`;
  return `the connection ended with ${code}${reason ? ` ${reason}` : ""}${again}`;
}

/** 1:02:03 */
export function duration(ms) {
  const seconds = Math.floor(ms / 1000);
  const two = (number) => String(number).padStart(2, "0");
  return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}
