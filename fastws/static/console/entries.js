/** The entries of the message log. */

import { asText } from "./elements.js";

export const KINDS = ["delivery", "reply", "sent", "notice"];
const NOTICES = new Set(["gap", "lag", "error"]);

/** A message on the wire, or a notice of this page. `text` is made on first use. */
export class Entry {
  #text = null;

  constructor(kind, message, frame, at) {
    this.kind = kind;
    this.message = message;
    this.frame = frame;
    this.at = at;
  }

  get text() {
    if (this.#text === null) this.#text = typeof this.frame === "string" ? this.frame : asText(this.message);
    return this.#text;
  }

  /** The most informative field: the event of a delivery, the type of a reply, the action of a request. */
  get word() {
    const { event, type, action } = this.message;
    return String((this.kind === "delivery" ? (event ?? type) : (action ?? type ?? event)) ?? "message");
  }

  get place() {
    const { channel, room_id: room, job_id: job, connectionId, workspace_id: workspace } = this.message;
    return String(channel ?? room ?? job ?? connectionId ?? workspace ?? "");
  }

  get isError() {
    return (this.message.type ?? this.message.event) === "error";
  }

  get bytes() {
    return typeof this.frame === "string" ? new TextEncoder().encode(this.frame).length : (this.frame?.byteLength ?? 0);
  }
}

export function entryOf(direction, message, frame, at) {
  return new Entry(direction === "out" ? "sent" : kindOf(message), message, frame, at);
}

export function noticeOf(text, at) {
  return new Entry("notice", { type: "console", message: text }, text, at);
}

function kindOf(message) {
  if (NOTICES.has(message.type ?? message.event)) return "notice";
  return "data" in message && message.id === undefined ? "delivery" : "reply";
}

/** 14:03:07.042 */
export function clockTime(at) {
  const date = new Date(at);
  const two = (number) => String(number).padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}
