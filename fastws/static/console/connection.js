/** The connection of this page: its form, status and counters. */

import { connect } from "../client/fastws.js";
import { byId } from "./elements.js";

const PATHS = { channels: "", rooms: "api/v1/ws", workspaces: "ws", jobs: "ws" };
const NEEDS_TOKEN = new Set(["rooms", "workspaces"]);
// Errors of the client. Those of the server are in the log as messages.
const OWN_ERRORS = new Set(["invalid_message", "internal"]);
const STATUS_TEXTS = {
  connecting: "Connecting",
  connected: "Connected",
  reconnecting: "Reconnecting",
  disconnected: "Not connected",
  refused: "Connection refused",
};

// The close code if a connection was lost or could not be opened.
const LOST = 1006;
const JWT = /^[\w.-]+$/;

/** The base URL of the server: a proxy may serve the page under a path prefix. */
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
  #hasProbed = false;

  /** `changed(client, status)` is called on every change; `client` is null if there is no connection. */
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
      onTraffic: (direction, message, frame) => this.#record(direction, message, frame),
      onStatus: (change) => this.#status(change),
      onError: (error) => this.#error(error),
      onGap: ({ source }) =>
        source === "reconnect" && this.#log.note("messages published while this page was disconnected were missed"),
    };
    if (options.token && !JWT.test(options.token)) {
      this.#log.note("cannot connect: the token contains characters that are not allowed in a JWT; copy it again");
      return;
    }
    this.#count = this.#counted = 0;
    this.#hasProbed = false;
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

  /** Measure the round-trip time in milliseconds. The ping and its reply are neither shown nor counted. */
  measure() {
    this.#isMeasuring = true;
    try {
      return this.client.ping();
    } finally {
      this.#isMeasuring = false;
    }
  }

  #record(direction, message, frame) {
    if (this.#isMeasuring) this.#measured.add(message.id);
    if (this.#isMeasuring || (direction === "in" && this.#measured.delete(message.id))) return;
    if (direction === "in") this.#count += 1;
    this.#log.add(direction, message, frame);
  }

  #error({ code, message }) {
    if (OWN_ERRORS.has(code)) this.#log.note(`${code}: ${message}`);
    else if (!this.isConnected) this.#log.note(`connection refused: ${message}`);
  }

  #status({ status, code, reason, delay }) {
    if (code !== undefined && status !== "refused") this.#log.note(ending(code, reason, delay));
    if (code === LOST && !this.#hasProbed) this.#probe();
    if (status === "connected") this.#hasProbed = false;
    if (status === "connected") this.#log.note(`connected to ${byId("url").value}`);
    this.#since = status === "connected" ? Date.now() : null;
    if (status === "disconnected" || status === "refused") this.client = null;
    byId("status").dataset.status = status;
    const what = status === "connected" ? ` · ${this.dialect} · ${byId("format").selectedOptions[0].text}` : "";
    byId("status-text").textContent = STATUS_TEXTS[status] + what;
    byId("connect").textContent = this.client ? "Disconnect" : "Connect";
    byId("connect").classList.toggle("main", this.client === null);
    document.body.dataset.status = status;
    for (const id of ["dialect", "format", "url", "workspace", "token", "reconnect"])
      byId(id).disabled = this.client !== null;
    this.#tick();
    this.#changed(this.client, status);
  }

  /** 1006 is all that browsers report. The client asks why it was refused; here remains whether anybody answers. */
  async #probe() {
    this.#hasProbed = true;
    const place = new URL(byId("url").value.trim().replace(/^ws/i, "http"), HOME);
    // Responses of other origins are not readable.
    if (place.origin !== HOME.origin) return;
    await fetch(place, { cache: "no-store" }).catch(() => this.#log.note("the server does not answer"));
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
        ? "not used at /ws"
        : "optional";
    this.#changed(null, "disconnected");
  }
}

function ending(code, reason, delay) {
  const retry = delay === undefined ? "" : `; reconnecting in ${(delay / 1000).toFixed(1)} s`;
  return `connection closed with ${code}${reason ? ` ${reason}` : ""}${retry}`;
}

/** 1:02:03 */
export function duration(ms) {
  const seconds = Math.floor(ms / 1000);
  const two = (number) => String(number).padStart(2, "0");
  return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}
