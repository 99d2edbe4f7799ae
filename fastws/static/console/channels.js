/** The list of channels, from GET /channels. */

import { ChannelDetail } from "./channel_detail.js";
import { byId, counted, make, on } from "./elements.js";

const PAGE = 200;
const PAGES = 5;

export class Channels {
  #requests;
  #connection;
  #actions;
  #detail;
  #channels = [];

  /** `actions`: `subscribe(channel)`. */
  constructor(requests, connection, actions) {
    this.#requests = requests;
    this.#connection = connection;
    this.#actions = actions;
    this.#detail = new ChannelDetail(requests);
    on("channels-form", "submit", () => this.show());
    on("channels-search", "input", () => this.#draw());
  }

  /** Load the channels whose names begin with the search text. */
  async show() {
    const prefix = byId("channels-search").value.trim();
    const channels = [];
    let cursor = null;
    for (let page = 0; page < PAGES; page++) {
      const answer = await this.#requests.get("channels-note", "channels", { prefix, cursor, limit: PAGE });
      if (!answer) return byId("channels").replaceChildren();
      channels.push(...answer.channels);
      cursor = answer.cursor;
      if (cursor === null) break;
    }
    this.#channels = channels;
    byId("channels-note").textContent =
      cursor === null ? counted(channels.length, "channel") : `the first ${counted(channels.length, "channel")} by name`;
    this.#draw();
  }

  #draw() {
    const wanted = byId("channels-search").value.trim();
    const found = this.#channels.filter(({ channel }) => channel.startsWith(wanted));
    found.sort((a, b) => b.subscribers - a.subscribers || (a.channel < b.channel ? -1 : 1));
    byId("channels").replaceChildren(...found.map((each) => this.#row(each)));
  }

  #row({ channel, subscribers, offset, presence }) {
    const subscribe = button("Subscribe", `Subscribe to ${channel}`, () => this.#actions.subscribe(channel));
    subscribe.disabled = !this.#connection.isConnected || !["channels", "rooms"].includes(this.#connection.dialect);
    const people = button("Subscribers", `Subscribers of ${channel}`, () => {
      byId("people-channel").value = channel;
      byId("tab-people").click();
    });
    const history = button("History", `History of ${channel}`, () => this.#detail.showHistory(channel));
    const members = button("Members", `Members of ${channel}`, () => this.#detail.showMembers(channel));
    const number = (value) => make("td", { className: "number" }, value?.toLocaleString() ?? "–");
    return make(
      "tr",
      {},
      make("td", { className: "mono" }, channel),
      number(subscribers),
      number(presence?.users),
      number(offset),
      make(
        "td",
        { className: "actions" },
        ...(offset === undefined ? [] : [history]),
        ...(presence === undefined ? [] : [members]),
        people,
        subscribe,
      ),
    );
  }
}

function button(text, label, action) {
  const made = make("button", { type: "button", className: "quiet", "aria-label": label }, text);
  made.addEventListener("click", action);
  return made;
}
