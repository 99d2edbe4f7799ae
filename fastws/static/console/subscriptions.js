/** The subscriptions of this page, with the terms of the selected dialect. */

import { byId, make } from "./elements.js";

const OF_DIALECT = {
  channels: { label: "Channel", example: "news", note: "" },
  rooms: {
    label: "Room",
    example: "execution:1",
    note: "user:… is joined automatically; other rooms must be allowed by the token.",
  },
  workspaces: {
    label: "Event types",
    example: "alert",
    note: "Without a subscription, all events of the workspace are received.",
  },
  jobs: {
    label: "Job ids",
    example: "",
    note: "Without a subscription, updates of all jobs are received; each subscription replaces the previous one.",
  },
};

export class Subscriptions {
  #connection;
  #log;
  #names = new Set();

  constructor(connection, log) {
    this.#connection = connection;
    this.#log = log;
    byId("subscribe-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.subscribe(this.#wanted());
    });
    byId("unsubscribe").addEventListener("click", () => this.unsubscribe(this.#wanted()));
    byId("subscriptions").addEventListener("click", (event) => {
      const name = event.target.closest("button")?.dataset.name;
      if (name !== undefined) this.unsubscribe(name);
    });
  }

  /** Update the form: the status has changed. `client` is null if there is no connection. */
  follow(client, status) {
    const { label, example, note } = OF_DIALECT[byId("dialect").value];
    if (byId("subscribe-label").textContent !== label) byId("subscribe-name").value = example;
    byId("subscribe-label").textContent = label;
    byId("subscribe-note").textContent = note;
    byId("statuses-label").hidden = byId("dialect").value !== "jobs";
    byId("subscribe").disabled = byId("unsubscribe").disabled = status !== "connected";
    if (status === "connecting") client.on("left", ({ channel }) => this.#forget(channel));
    if (!client) this.#names.clear();
    this.#show();
  }

  async subscribe(wanted) {
    await this.#ask("subscribe", wanted, () => {
      if (this.#isJobs) this.#names.clear();
      this.#namesOf(wanted).forEach((name) => this.#names.add(name));
    });
  }

  async unsubscribe(unwanted) {
    await this.#ask("unsubscribe", unwanted, () => {
      if (this.#isJobs) this.#names.clear();
      this.#namesOf(unwanted).forEach((name) => this.#names.delete(name));
    });
  }

  async #ask(word, names, done) {
    try {
      await this.#connection.client[word](names);
      done();
    } catch (error) {
      this.#log.note(`${word}: ${error.message}`);
    }
    this.#show();
  }

  get #isJobs() {
    return this.#connection.dialect === "jobs";
  }

  #wanted() {
    const listed = (id) =>
      byId(id)
        .value.split(",")
        .map((name) => name.trim())
        .filter(Boolean);
    if (this.#isJobs) return { jobIds: listed("subscribe-name"), statuses: listed("statuses") };
    return this.#connection.dialect === "workspaces" ? listed("subscribe-name") : byId("subscribe-name").value;
  }

  #namesOf(wanted) {
    return typeof wanted === "string"
      ? [wanted]
      : Array.isArray(wanted)
        ? wanted
        : [...wanted.jobIds, ...wanted.statuses];
  }

  #forget(name) {
    this.#names.delete(name);
    this.#show();
  }

  #show() {
    byId("subscriptions").replaceChildren(
      ...[...this.#names].map((name) => {
        const away = make(
          "button",
          { type: "button", "aria-label": `Unsubscribe from ${name}`, "data-name": name },
          "×",
        );
        return make("li", {}, make("span", {}, name), away);
      }),
    );
  }
}
