/** The history of a channel, newest first, or its members, as the server keeps them. */

import { asText, byId, counted, make, on } from "./elements.js";

const PAGE = 50;
const HISTORY = ["Offset", "Published", "Event", "Data"];
const MEMBERS = ["User", "Client id", "Info", "Connection"];

export class ChannelDetail {
  #requests;
  // Loads the next page and appends it.
  #more = null;
  // Counts the calls of #open, so that a late response does not end up in the view of another channel.
  #opened = 0;

  constructor(requests) {
    this.#requests = requests;
    on("kept-more", "click", () => this.#more());
    on("kept-close", "click", () => {
      this.#opened += 1;
      byId("kept").hidden = true;
    });
  }

  showHistory(channel) {
    const load = async (position) => {
      const query = { reverse: true, limit: PAGE, ...position };
      const answer = await this.#requests.get("kept-note", `channels/${encodeURIComponent(channel)}/history`, query);
      if (!answer) return null;
      const { messages, offset, epoch } = answer;
      // A page of long messages has fewer than PAGE.
      const oldest = messages.at(-1)?.offset ?? 1;
      return {
        note: `last offset ${offset.toLocaleString()}, epoch ${epoch}`,
        rows: messages.map(historyRow),
        next: oldest > 1 ? { offset: oldest, epoch } : null,
      };
    };
    this.#open(`History of ${channel}`, HISTORY, load);
  }

  showMembers(channel) {
    const load = async (position) => {
      const query = { limit: PAGE, ...position };
      const answer = await this.#requests.get("kept-note", `channels/${encodeURIComponent(channel)}/presence`, query);
      if (!answer) return null;
      const { count, users, members = [], cursor } = answer;
      return {
        note: `${counted(count, "connection")}, ${counted(users, "user")}`,
        rows: members.map(memberRow),
        next: cursor ? { cursor } : null,
      };
    };
    this.#open(`Members of ${channel}`, MEMBERS, load);
  }

  #open(title, columns, load) {
    const opened = (this.#opened += 1);
    byId("kept").hidden = false;
    byId("kept-title").textContent = title;
    byId("kept-note").textContent = "";
    byId("kept-head").replaceChildren(...columns.map((name) => make("th", { scope: "col" }, name)));
    byId("kept-rows").replaceChildren();
    const append = async (position) => {
      byId("kept-more").hidden = true;
      const page = await load(position);
      if (page === null || opened !== this.#opened) return;
      byId("kept-note").textContent = page.note;
      byId("kept-rows").append(...page.rows);
      byId("kept-more").hidden = page.next === null;
      this.#more = () => append(page.next);
    };
    append({});
  }
}

function historyRow({ offset, timestamp, event, data }) {
  const text = asText(data ?? null);
  return make(
    "tr",
    {},
    make("td", { className: "number" }, offset.toLocaleString()),
    make("td", { title: timestamp }, new Date(timestamp).toLocaleString()),
    make("td", {}, event),
    make("td", { className: "names", title: text }, text),
  );
}

function memberRow({ connection_id: id, user, client_id: clientId, info }) {
  return make(
    "tr",
    {},
    make("td", {}, user),
    make("td", {}, clientId ?? "–"),
    make("td", { className: "names" }, info === undefined ? "–" : asText(info)),
    make("td", { className: "mono" }, id),
  );
}
