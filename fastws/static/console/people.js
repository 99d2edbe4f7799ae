/** Lists of connections and channels, from GET /connections (needs the broadcast key). */

import { duration, HOME } from "./connection.js";
import { byId, copy, counted, flash, make } from "./elements.js";

const PAGE = 50;
// Subscribers are counted over at most COUNTED_PAGES of this size.
const COUNTED_PAGE = 1000;
const COUNTED_PAGES = 20;
const SHOWN_CHANNELS = 500;
const SHOWN_NAMES = 4;

export class People {
  #key;
  #connection;
  #actions;
  #cursor = null;
  #counts = new Map();

  /** `key()` is the broadcast key; `actions`: `subscribe(channel)`, `write(connection id)`. */
  constructor(key, connection, actions) {
    this.#key = key;
    this.#connection = connection;
    this.#actions = actions;
    on("people-form", "submit", () => this.showPeople());
    on("people-first", "click", () => this.showPeople());
    on("people-next", "click", () => this.showPeople(this.#cursor));
    on("channels-form", "submit", () => this.showChannels());
    on("channels-search", "input", () => this.#drawChannels());
  }

  /** Reload the visible list: the key has changed, or the view was opened. */
  refresh() {
    if (!byId("panel-people").hidden) this.showPeople();
    if (!byId("panel-channels").hidden) this.showChannels();
  }

  async showPeople(cursor = null) {
    const answer = await this.#get("people-note", {
      user: byId("people-user").value.trim(),
      channel: byId("people-channel").value.trim(),
      cursor,
      limit: PAGE,
    });
    if (!answer) return byId("people").replaceChildren();
    this.#cursor = answer.cursor;
    byId("people-next").disabled = answer.cursor === null;
    byId("people-first").disabled = cursor === null;
    byId("people").replaceChildren(...answer.connections.map((person) => this.#person(person)));
    byId("people-note").textContent =
      counted(answer.connections.length, "connection") + (answer.cursor ? " on this page" : "");
  }

  #person({ id, user, dialect, codec, channels, connected_at: since }) {
    const isSelf = id === this.#connection.client?.connectionId;
    const name = make("button", { type: "button", className: "link mono", title: "Copy the id" }, id);
    name.addEventListener("click", async () => flash(name, (await copy(id)) ? "copied" : "copying not allowed"));
    const more = channels.length > SHOWN_NAMES ? ` and ${channels.length - SHOWN_NAMES} more` : "";
    const away = make(
      "button",
      { type: "button", className: "quiet danger", "aria-label": `Disconnect ${id}` },
      "Disconnect",
    );
    away.addEventListener("click", () => this.#disconnect(away, id));
    const write = make("button", { type: "button", className: "quiet", "aria-label": `Send to ${id}` }, "Send to");
    write.addEventListener("click", () => this.#actions.write(id));
    const row = make(
      "tr",
      {},
      make("td", {}, name, isSelf ? make("em", {}, "this page") : ""),
      make("td", {}, user ?? make("span", { className: "note" }, "anonymous")),
      make("td", {}, dialect),
      make("td", {}, codec),
      make(
        "td",
        { className: "names", title: channels.join("\n") },
        channels.slice(0, SHOWN_NAMES).join(", ") + more || "–",
      ),
      make("td", { title: since }, duration(Math.max(0, Date.now() - Date.parse(since)))),
      make("td", { className: "actions" }, write, away),
    );
    row.dataset.id = id;
    return row;
  }

  /** Disconnect on the second click within 3 s. The first one asks for confirmation on the button. */
  async #disconnect(button, id) {
    if (button.dataset.sure === undefined) {
      button.dataset.sure = "";
      button.textContent = "Sure?";
      setTimeout(() => {
        delete button.dataset.sure;
        button.textContent = "Disconnect";
      }, 3000);
      return;
    }
    button.disabled = true;
    const response = await this.#fetch(`connections/${encodeURIComponent(id)}`, "DELETE").catch((error) => error);
    if (response instanceof Error || !response.ok) flash(button, response.status === 404 ? "already closed" : "failed");
    if (response.ok || response.status === 404) button.closest("tr").remove();
  }

  async showChannels() {
    const counts = new Map();
    let cursor = null;
    let looked = 0;
    for (let page = 0; page < COUNTED_PAGES; page++) {
      const answer = await this.#get("channels-note", { cursor, limit: COUNTED_PAGE });
      if (!answer) return byId("channels").replaceChildren();
      looked += answer.connections.length;
      for (const { channels } of answer.connections)
        for (const name of channels) counts.set(name, (counts.get(name) ?? 0) + 1);
      cursor = answer.cursor;
      if (cursor === null) break;
    }
    this.#counts = counts;
    byId("channels-note").textContent =
      `${counted(counts.size, "channel")} (${cursor === null ? "" : "of the first "}${counted(looked, "connection")})`;
    this.#drawChannels();
  }

  #drawChannels() {
    const wanted = byId("channels-search").value.trim().toLowerCase();
    const found = [...this.#counts].filter(([name]) => name.toLowerCase().includes(wanted));
    found.sort(([a, few], [b, many]) => many - few || (a < b ? -1 : 1));
    byId("channels").replaceChildren(
      ...found.slice(0, SHOWN_CHANNELS).map(([name, count]) => this.#channel(name, count)),
    );
  }

  #channel(name, count) {
    const subscribe = make(
      "button",
      { type: "button", className: "quiet", "aria-label": `Subscribe to ${name}` },
      "Subscribe",
    );
    subscribe.disabled = !this.#connection.isConnected || !["channels", "rooms"].includes(this.#connection.dialect);
    subscribe.addEventListener("click", () => this.#actions.subscribe(name));
    const members = make(
      "button",
      { type: "button", className: "quiet", "aria-label": `Subscribers of ${name}` },
      "Subscribers",
    );
    members.addEventListener("click", () => {
      byId("people-channel").value = name;
      byId("tab-people").click();
    });
    return make(
      "tr",
      {},
      make("td", { className: "mono" }, name),
      make("td", { className: "number" }, count.toLocaleString()),
      make("td", { className: "actions" }, members, subscribe),
    );
  }

  /** Return the response of GET /connections, or null after showing the error in `note`. */
  async #get(note, query) {
    if (!this.#key()) {
      byId(note).textContent = "enter the broadcast key under Operator";
      return null;
    }
    const wanted = Object.entries(query).filter(([, value]) => value !== null && value !== "");
    try {
      const response = await this.#fetch(`connections?${new URLSearchParams(wanted)}`);
      const answer = await response.json();
      if (!answer.error) return answer;
      byId(note).textContent = response.status === 401 ? "invalid broadcast key" : answer.error.message;
    } catch (error) {
      byId(note).textContent = error.message;
    }
    return null;
  }

  #fetch(path, method = "GET") {
    return fetch(new URL(path, HOME), {
      method,
      cache: "no-store",
      headers: { Authorization: `Bearer ${this.#key()}` },
    });
  }
}

function on(id, kind, action) {
  byId(id).addEventListener(kind, (event) => {
    event.preventDefault();
    action();
  });
}
