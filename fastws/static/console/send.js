/** Publishing over the connection of this page, or by POST /broadcast with the key. */

import { HOME } from "./connection.js";
import { byId } from "./elements.js";

// The ways to send in each dialect, the default first, and the examples in the fields.
const WAYS = {
  channels: ["channel", "connection", "http", "raw"],
  rooms: ["http", "raw"],
  workspaces: ["http", "raw"],
  jobs: ["http", "raw"],
};
const EXAMPLES = {
  channels: { target: "news", event: "hello", data: { text: "world" }, raw: { action: "ping" } },
  rooms: {
    target: "execution:1",
    event: "status_changed",
    data: { execution_id: "1", status: "running", progress_percentage: 45.5 },
    raw: { type: "ping" },
  },
  workspaces: {
    target: "workspace:demo",
    event: "alert",
    data: { type: "credit_limit", priority: "high" },
    raw: { type: "request_metrics", metric_type: "connections" },
  },
  jobs: {
    target: "botrix:jobs:updates",
    event: "job_update",
    data: { job_id: "1", status: "processing", progress: 50 },
    raw: { type: "ping" },
  },
};

export class Sending {
  #connection;
  #log;
  #key;
  #dialect = null;

  /** `key()` returns the broadcast key, or "". */
  constructor(connection, log, key) {
    this.#connection = connection;
    this.#log = log;
    this.#key = key;
    byId("send-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    byId("send-how").addEventListener("change", () => this.#fit(true));
    byId("data").addEventListener("input", () => this.#parse());
    byId("data").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("send-form").requestSubmit();
    });
  }

  /** Update the form: the dialect, the status or the key has changed. */
  follow() {
    const { dialect } = this.#connection;
    if (dialect !== this.#dialect) {
      this.#dialect = dialect;
      for (const option of byId("send-how").options)
        option.hidden = option.disabled = !WAYS[dialect].includes(option.value);
      byId("send-how").value = WAYS[dialect][0];
      this.#fit(true);
    }
    const isOpen = byId("send-how").value === "http" ? this.#key() !== "" : this.#connection.isConnected;
    byId("send").disabled = !isOpen;
    byId("send").title = isOpen
      ? "Ctrl+Enter in the data field"
      : byId("send-how").value === "http"
        ? "Enter the broadcast key under Operator first"
        : "Connect first";
  }

  /** Fill in the target. */
  address(how, target) {
    byId("send-how").value = how;
    this.#fit(false);
    byId("target").value = target;
    byId("data").focus();
  }

  #fit(isFresh) {
    const how = byId("send-how").value;
    const example = EXAMPLES[this.#dialect];
    byId("send-fields").hidden = how === "raw";
    byId("target-label").textContent = how === "connection" ? "Connection id" : "Channel";
    byId("data-label").textContent = how === "raw" ? "Message, JSON" : "Data, JSON";
    byId("request-id-label").hidden = how === "http" || how === "raw";
    byId("exclude-self-label").hidden = how !== "channel";
    if (isFresh) {
      byId("target").value = how === "connection" ? "" : example.target;
      byId("event").value = example.event;
      byId("data").value = JSON.stringify(how === "raw" ? example.raw : example.data, null, 1).replace(/\n */g, " ");
    }
    this.#parse();
    this.follow();
  }

  /** Return the parsed JSON of the data field, or undefined after showing the error. */
  #parse() {
    const text = byId("data").value.trim();
    try {
      const value = text === "" ? null : JSON.parse(text);
      const isWrong = byId("send-how").value === "raw" && (value === null || typeof value !== "object");
      byId("data-error").textContent = isWrong ? "a message must be a JSON object" : "";
      byId("data").setAttribute("aria-invalid", String(isWrong));
      return isWrong ? undefined : value;
    } catch (error) {
      byId("data-error").textContent = error.message;
      byId("data").setAttribute("aria-invalid", "true");
      return undefined;
    }
  }

  async #send() {
    const data = this.#parse();
    if (data === undefined) return;
    const how = byId("send-how").value;
    const target = byId("target").value;
    const event = byId("event").value;
    if (how === "http") await this.#broadcast({ channel: target, event, data });
    else if (how === "raw") this.#post(data);
    else
      this.#post({
        action: "send",
        ...(how === "channel" ? { channel: target } : { connectionId: target }),
        event,
        data,
        ...this.#more(how),
      });
  }

  #more(how) {
    const id = byId("request-id").value.trim();
    return {
      ...(how === "channel" && byId("exclude-self").checked && { exclude_self: true }),
      ...(id && { id: /^-?\d{1,15}$/.test(id) ? Number(id) : id }),
    };
  }

  #post(message) {
    if (!this.#connection.client?.post(message)) this.#log.note("not sent: not connected");
  }

  async #broadcast(message) {
    try {
      const response = await fetch(new URL("broadcast", HOME), {
        method: "POST",
        headers: { Authorization: `Bearer ${this.#key()}`, "Content-Type": "application/json" },
        body: JSON.stringify(message),
      });
      const answer = await response.json();
      this.#log.note(
        `POST /broadcast ${message.channel}: ${answer.error ? `${response.status} ${answer.error.message}` : `sent ${answer.sent}, failed ${answer.failed}`}`,
      );
    } catch (error) {
      this.#log.note(`POST /broadcast: ${error.message}`);
    }
  }
}
