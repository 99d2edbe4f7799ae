/** The message log. Only visible rows are elements, and they are drawn at most once per frame. */

import { byId, copy, flash, asText, make } from "./elements.js";
import { clockTime, entryOf, KINDS, noticeOf } from "./entries.js";
import { Ring, Selection, testFor } from "./ring.js";

const KEPT = 20_000;
const ROW_PX = 26;
const SPARE_ROWS = 4;
const LONGEST_LINE = 400;
const ARROWS = { delivery: "↓", reply: "↓", sent: "↑", notice: "•" };

export class Log {
  #ring = new Ring(KEPT);
  #frozen = null;
  #selection = new Selection(this.#ring);
  #kinds = new Set(KINDS);
  #rows = [];
  #isDrawn = true;
  #isFollowing = true;
  #gone = 0;
  #pausedAt = 0;
  #selected = null;
  #scroll = byId("log");
  #space = byId("log-rows");

  constructor() {
    this.#scroll.addEventListener("scroll", () => this.#scrolled());
    this.#scroll.addEventListener("keydown", (event) => this.#key(event));
    this.#space.addEventListener("click", (event) => this.#click(event));
    byId("search").addEventListener("input", () => this.#filter());
    byId("kinds").addEventListener("change", () => this.#filter());
    byId("pause").addEventListener("click", () => this.#pause(!this.#frozen));
    byId("clear").addEventListener("click", () => this.#clear());
    byId("copy").addEventListener("click", (event) => this.#copyAll(event.currentTarget));
    byId("follow").addEventListener("click", () => this.#follow());
    byId("detail-close").addEventListener("click", () => this.#select(null));
    byId("detail-copy").addEventListener("click", (event) => this.#copyOne(event.currentTarget));
    document.addEventListener("keydown", (event) => this.#shortcut(event));
    new ResizeObserver(() => this.#draw()).observe(this.#scroll);
  }

  /** Add a message. Takes a few µs; it is drawn with the next frame. */
  add(direction, message, frame) {
    this.#ring.push(entryOf(direction, message, frame, Date.now()));
    this.#draw();
  }

  note(text) {
    this.#ring.push(noticeOf(text, Date.now()));
    this.#draw();
  }

  // --- filter

  #filter() {
    const boxes = [...byId("kinds").querySelectorAll("input")];
    this.#kinds = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    this.#selectionOf(this.#frozen ?? this.#ring);
  }

  #selectionOf(ring) {
    this.#selection = new Selection(ring, testFor(byId("search").value, this.#kinds, KINDS));
    this.#gone = this.#selection.gone;
    this.#isFollowing = true;
    this.#draw();
  }

  #pause(isPaused) {
    this.#frozen = isPaused ? this.#ring.copy() : null;
    this.#pausedAt = this.#ring.next;
    const button = byId("pause");
    button.setAttribute("aria-pressed", String(isPaused));
    button.textContent = isPaused ? "Resume" : "Pause";
    this.#selectionOf(this.#frozen ?? this.#ring);
  }

  #clear() {
    this.#ring.clear();
    this.#select(null);
    this.#pause(false);
  }

  async #copyAll(button) {
    const lines = this.#selection.slice(0).map((entry) => entry.text);
    flash(button, (await copy(lines.join("\n"))) ? `${lines.length} copied` : "copying not allowed");
  }

  async #copyOne(button) {
    if (this.#selected) flash(button, (await copy(asText(this.#selected.message, 2))) ? "Copied" : "copying not allowed");
  }

  // --- scrolling and keys

  #follow() {
    this.#isFollowing = true;
    this.#draw();
  }

  #scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.#scroll;
    this.#isFollowing = scrollHeight - scrollTop - clientHeight < 1.5 * ROW_PX;
    this.#draw();
  }

  #key(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 20, PageUp: -20, Home: -KEPT, End: KEPT };
    if (event.key in steps) {
      event.preventDefault();
      this.#move(steps[event.key]);
    } else if (event.key === "c" && (event.ctrlKey || event.metaKey) && this.#selected && !String(getSelection())) {
      event.preventDefault();
      this.#copyOne(byId("detail-copy"));
    } else if (event.key === "Escape") {
      this.#select(null);
    }
  }

  #move(steps) {
    const { length } = this.#selection;
    if (!length) return;
    const now = this.#selected ? this.#positionOf(this.#selected) : -1;
    const start = now < 0 ? (steps < 0 ? length : -1) : now;
    this.#select(this.#selection.at(Math.min(length - 1, Math.max(0, start + steps))));
  }

  /** Scroll as little as needed and stop following, so that the selected message stays in view. */
  #reveal(position) {
    const top = position * ROW_PX;
    const { scrollTop, clientHeight } = this.#scroll;
    if (top < scrollTop) this.#scroll.scrollTop = top;
    else if (top + ROW_PX > scrollTop + clientHeight) this.#scroll.scrollTop = top + ROW_PX - clientHeight;
    this.#isFollowing = false;
  }

  #positionOf(entry) {
    for (let position = this.#selection.length - 1; position >= 0; position--) {
      if (this.#selection.at(position) === entry) return position;
    }
    return -1;
  }

  #shortcut(event) {
    if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      event.preventDefault();
      byId("search").focus();
    } else if (event.key === "p") {
      this.#pause(!this.#frozen);
    }
  }

  #click(event) {
    const row = event.target.closest(".line");
    if (row?.entry) this.#select(row.entry === this.#selected ? null : row.entry);
  }

  #select(entry) {
    this.#selected = entry;
    byId("detail").hidden = entry === null;
    if (entry) {
      byId("detail-title").textContent =
        `${clockTime(entry.at)} · ${entry.kind} · ${entry.bytes.toLocaleString()} bytes`;
      byId("detail-text").textContent = entry.message.type === "console" ? entry.text : asText(entry.message, 2);
      this.#reveal(this.#positionOf(entry));
    }
    this.#draw();
  }

  // --- drawing

  #draw() {
    if (!this.#isDrawn) return;
    this.#isDrawn = false;
    requestAnimationFrame(() => this.#drawNow());
  }

  #drawNow() {
    this.#isDrawn = true;
    const selection = this.#selection;
    selection.update();
    const { length, gone } = selection;
    this.#space.style.height = `${length * ROW_PX}px`;
    if (this.#isFollowing) this.#scroll.scrollTop = length * ROW_PX;
    else if (gone > this.#gone) this.#scroll.scrollTop -= (gone - this.#gone) * ROW_PX; // keep the visible rows in place
    this.#gone = gone;
    const start = Math.max(0, Math.floor(this.#scroll.scrollTop / ROW_PX) - SPARE_ROWS);
    const count = Math.min(length - start, Math.ceil(this.#scroll.clientHeight / ROW_PX) + 2 * SPARE_ROWS);
    for (let offset = 0; offset < count; offset++)
      this.#row(offset).show(selection.at(start + offset), start + offset, length, this.#selected);
    for (const row of this.#rows.slice(Math.max(0, count))) row.hide();
    this.#drawAround(length);
  }

  #drawAround(length) {
    byId("log-empty").hidden = this.#ring.length > 0;
    byId("follow").hidden = this.#isFollowing;
    const missed = this.#frozen ? this.#ring.next - this.#pausedAt : 0;
    byId("shown").textContent = `${length.toLocaleString()} shown${missed ? `, ${missed.toLocaleString()} new` : ""}`;
    const selected = this.#rows.find((row) => row.element.entry === this.#selected && !row.element.hidden);
    if (this.#selected && selected) this.#scroll.setAttribute("aria-activedescendant", selected.element.id);
    else this.#scroll.removeAttribute("aria-activedescendant");
  }

  #row(offset) {
    if (!this.#rows[offset]) {
      this.#rows[offset] = new Row(offset);
      this.#space.append(this.#rows[offset].element);
    }
    return this.#rows[offset];
  }
}

/** A visible row. It shows another entry when the log scrolls. */
class Row {
  constructor(number) {
    const [time, arrow, word, place, text] = ["time", "arrow", "word", "place", "text"].map((name) =>
      make("span", { className: name }),
    );
    this.parts = { time, arrow, word, place, text };
    this.element = make(
      "div",
      { className: "line", id: `line-${number}`, role: "option" },
      time,
      arrow,
      word,
      place,
      text,
    );
  }

  show(entry, position, length, selected) {
    const { element, parts } = this;
    element.hidden = false;
    element.style.transform = `translateY(${position * ROW_PX}px)`;
    element.setAttribute("aria-selected", String(entry === selected));
    element.setAttribute("aria-posinset", position + 1);
    element.setAttribute("aria-setsize", length);
    if (element.entry === entry) return;
    element.entry = entry;
    element.dataset.kind = entry.isError ? "error" : entry.kind;
    parts.time.textContent = clockTime(entry.at);
    parts.arrow.textContent = ARROWS[entry.kind];
    parts.word.textContent = entry.word;
    parts.place.textContent = entry.place;
    parts.text.textContent = entry.text.length > LONGEST_LINE ? `${entry.text.slice(0, LONGEST_LINE)}…` : entry.text;
  }

  hide() {
    this.element.hidden = true;
    this.element.entry = null;
  }
}
