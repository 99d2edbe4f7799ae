/** The newest messages, and a filtered selection of them. Needs no page; tested with Node. */

/** Keeps the last `capacity` entries. Numbers of entries: `first` is the oldest one, `next` the coming one. */
export class Ring {
  constructor(capacity) {
    this.capacity = capacity;
    this.clear();
  }

  clear() {
    this.entries = new Array(this.capacity);
    this.first = 0;
    this.next = 0;
  }

  get length() {
    return this.next - this.first;
  }

  push(entry) {
    this.entries[this.next % this.capacity] = entry;
    this.next += 1;
    if (this.next - this.first > this.capacity) this.first += 1;
  }

  get(number) {
    return this.entries[number % this.capacity];
  }

  /** Return a copy, which later entries do not change. */
  copy() {
    const copy = new Ring(this.capacity);
    copy.entries = this.entries.slice();
    copy.first = this.first;
    copy.next = this.next;
    return copy;
  }
}

/** The entries of a ring that pass `test` (null: all), by position. `gone` counts those dropped from the front. */
export class Selection {
  constructor(ring, test = null) {
    this.ring = ring;
    this.test = test;
    this.numbers = [];
    this.head = 0;
    this.removed = 0;
    this.read = ring.first;
    this.update();
  }

  /** Add new entries of the ring and forget entries that it dropped. Costs one test per new entry. */
  update() {
    const { ring, test, numbers } = this;
    if (test === null) return;
    for (let number = Math.max(this.read, ring.first); number < ring.next; number++) {
      if (test(ring.get(number))) numbers.push(number);
    }
    this.read = ring.next;
    while (this.head < numbers.length && numbers[this.head] < ring.first) this.head += 1;
    if (this.head > 4096) {
      this.removed += this.head;
      numbers.splice(0, this.head);
      this.head = 0;
    }
  }

  get length() {
    return this.test === null ? this.ring.length : this.numbers.length - this.head;
  }

  get gone() {
    return this.test === null ? this.ring.first : this.removed + this.head;
  }

  at(position) {
    return this.ring.get(this.test === null ? this.ring.first + position : this.numbers[this.head + position]);
  }

  /** The entries from `start` to before `end`. */
  slice(start, end = this.length) {
    return Array.from({ length: Math.max(0, Math.min(end, this.length) - start) }, (_, offset) =>
      this.at(start + offset),
    );
  }
}

/** Return a test of entries for a search text and the wanted kinds; null if all entries pass. */
export function testFor(text, kinds, all) {
  const wanted = text.trim().toLowerCase();
  const isWhole = all.every((kind) => kinds.has(kind));
  if (!wanted && isWhole) return null;
  return (entry) => kinds.has(entry.kind) && (!wanted || entry.text.toLowerCase().includes(wanted));
}
