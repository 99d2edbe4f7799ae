/** The list of connections, from GET /connections. */

import { duration } from "./connection.js";
import { byId, copy, counted, flash, make, on } from "./elements.js";

const PAGE = 50;
const SHOWN_NAMES = 4;

export class People {
  #requests;
  #connection;
  #actions;
  #cursor = null;

  /** `actions`: `write(connection id)`. */
  constructor(requests, connection, actions) {
    this.#requests = requests;
    this.#connection = connection;
    this.#actions = actions;
    on("people-form", "submit", () => this.show());
    on("people-first", "click", () => this.show());
    on("people-next", "click", () => this.show(this.#cursor));
  }

  async show(cursor = null) {
    const answer = await this.#requests.get("people-note", "connections", {
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
    const response = await this.#requests.send(`connections/${encodeURIComponent(id)}`, "DELETE").catch((error) => error);
    if (response instanceof Error || !response.ok) flash(button, response.status === 404 ? "already closed" : "failed");
    if (response.ok || response.status === 404) button.closest("tr").remove();
  }
}
