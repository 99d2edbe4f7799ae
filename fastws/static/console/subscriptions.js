/** The subscriptions of the page's connection, in the words of its dialect. */

import { byId, make } from "./elements.js";

const OF_DIALECT = {
  channels: { label: "Channel", example: "news", note: "" },
  rooms: {
    label: "Room",
    example: "execution:1",
    note: "user:… is joined from the start; other rooms need the token’s leave.",
  },
  workspaces: {
    label: "Event types",
    example: "alert",
    note: "Until the first subscription every event of the workspace is heard.",
  },
  jobs: {
    label: "Job ids",
    example: "",
    note: "Every job is heard until you narrow it; each subscription replaces the one before.",
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
      this.subscribe(this.#written());
    });
    byId("unsubscribe").addEventListener("click", () => this.unsubscribe(this.#written()));
    byId("subscriptions").addEventListener("click", (event) => {
      const name = event.target.closest("button")?.dataset.name;
      if (name !== undefined) this.unsubscribe(name);
    });
  }

  /** The connection has another status: null is none. */
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

  #written() {
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
