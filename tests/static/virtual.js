/**
 * A browser without a browser: a clock that moves only when told to, WebSockets that fail in every way that real ones
 * do, and a server that speaks the dialects.
 */

const realImmediate = setImmediate;

/** Runs everything that does not wait for a timer. */
export async function settled() {
  for (let round = 0; round < 4; round++) await new Promise((go) => realImmediate(go));
}

class Clock {
  now = 0;
  #timers = new Map();
  #next = 1;

  install() {
    globalThis.setTimeout = (action, ms = 0) => this.#add(action, Math.max(0, ms), null);
    globalThis.setInterval = (action, ms) => this.#add(action, ms, ms);
    globalThis.clearTimeout = globalThis.clearInterval = (id) => this.#timers.delete(id);
    Date.now = () => 1_800_000_000_000 + this.now;
    performance.now = () => this.now;
  }

  get pending() {
    return this.#timers.size;
  }

  clear() {
    this.#timers.clear();
  }

  #add(action, ms, every) {
    const id = this.#next++;
    this.#timers.set(id, { action, at: this.now + ms, every, id });
    return id;
  }

  async advance(ms) {
    const end = this.now + ms;
    await settled();
    for (;;) {
      const [due] = [...this.#timers.values()].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at || a.id - b.id);
      if (!due) break;
      this.now = Math.max(this.now, due.at);
      if (due.every === null) this.#timers.delete(due.id);
      else due.at += due.every;
      due.action();
      await settled();
    }
    this.now = end;
  }
}

export const clock = new Clock();
clock.install();
Math.random = () => 0.9; // so that delays are the same in each run

/** The events of a page: `online` on the window, `visibilitychange` on the document. */
function target() {
  const listeners = new Map();
  return {
    addEventListener: (name, listener) => listeners.set(name, (listeners.get(name) ?? new Set()).add(listener)),
    removeEventListener: (name, listener) => listeners.get(name)?.delete(listener),
    fire: (name) => [...(listeners.get(name) ?? [])].forEach((listener) => listener({ type: name })),
    count: () => [...listeners.values()].reduce((sum, each) => sum + each.size, 0),
  };
}

export const page = target();
export const tab = Object.assign(target(), { visibilityState: "visible" });
Object.assign(globalThis, { addEventListener: page.addEventListener, removeEventListener: page.removeEventListener });
globalThis.document = tab;
globalThis.location = { href: "http://page.example/" };

/** As in the standard: events come later, a closing socket takes no data, invalid close codes throw. */
export class FakeSocket {
  static all = [];
  static server = null;

  static get alive() {
    return FakeSocket.all.filter(({ readyState }) => readyState < 2);
  }

  static get last() {
    return FakeSocket.all.at(-1);
  }

  constructor(url, protocols) {
    Object.assign(this, { url, protocols, readyState: 0, bufferedAmount: 0, sent: [], onopen: null, onmessage: null });
    this.onclose = null;
    FakeSocket.all.push(this);
    FakeSocket.server?.arrived(this);
  }

  send(frame) {
    if (this.readyState === 0) throw new DOMException("still connecting", "InvalidStateError");
    if (this.readyState > 1) return;
    const message = JSON.parse(frame);
    this.sent.push(message);
    FakeSocket.server?.received(this, message);
  }

  close(code, reason = "") {
    if (code !== undefined && code !== 1000 && !(code >= 3000 && code < 5000)) throw new DOMException("bad code");
    if (Buffer.byteLength(reason) > 123) throw new DOMException("the reason is too long", "SyntaxError");
    if (this.readyState > 1) return;
    const wasOpen = this.readyState === 1;
    this.readyState = 2;
    this.closedWith = [code, reason];
    // A peer that is away does not answer, and the page gets the event much later.
    setTimeout(() => this.#ended(wasOpen ? (code ?? 1005) : 1006, reason), 30_000);
  }

  // Events of the network and the server:

  open() {
    if (this.readyState !== 0) return;
    this.readyState = 1;
    this.onopen?.({});
  }

  /** A message that is on its way when the page closes the socket still arrives. */
  receive(message) {
    if (this.readyState !== 3) this.onmessage?.({ data: typeof message === "string" ? message : JSON.stringify(message) });
  }

  drop(code = 1006, reason = "") {
    if (this.readyState !== 3) this.#ended(code, reason);
  }

  #ended(code, reason) {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
}

const GREETINGS = {
  channels: (id) => ({ type: "connection_id", connection_id: id }),
  rooms: (id) => ({ type: "connection", event: "connected", connection_id: id }),
  workspaces: (id) => ({ event: "connected", connection_id: id }),
  jobs: () => null,
};

/** The subscriptions of one connection at the server. */
class State {
  names = new Set();
  filter = null; // of workspaces: null is everything

  take(message) {
    const word = message.action ?? message.type;
    if (message.event_types) this.#narrow(word, message.event_types);
    else if (word === "subscribe") this.names.add(message.channel ?? message.room_id);
    else if (word === "unsubscribe") this.names.delete(message.channel ?? message.room_id);
  }

  #narrow(word, types) {
    const { names, isExcluding } = this.filter ?? { names: [], isExcluding: true };
    if (types.includes("*")) this.filter = word === "subscribe" ? null : { names: [], isExcluding: false };
    else if (word === "subscribe")
      this.filter = { names: isExcluding ? types : [...new Set([...names, ...types])], isExcluding: false };
    else if (isExcluding) this.filter = { names: [...new Set([...names, ...types])], isExcluding };
    else this.filter = { names: names.filter((name) => !types.includes(name)), isExcluding };
  }

  hears(name) {
    if (!this.filter) return null;
    return this.filter.isExcluding !== this.filter.names.includes(name);
  }
}

/** Greets and answers after `latency` ms; `answers(message)` may give another reply (null: none at all). */
export class FakeServer {
  latency = 10;
  isAway = false; // accepts connections and sends nothing
  answers = () => undefined;
  greets = (greeting) => greeting; // may add to the greeting of a dialect, or give one (null: none)
  states = new Map();
  #count = 0;

  constructor(dialect = "channels") {
    this.dialect = dialect;
    FakeSocket.server = this;
  }

  arrived(socket) {
    this.#later(() => {
      if (this.isAway || socket.readyState !== 0) return;
      this.states.set(socket, new State());
      socket.open();
      const greeting = this.greets(GREETINGS[this.dialect](`c${++this.#count}`));
      if (greeting) this.#later(() => socket.receive(greeting));
    });
  }

  received(socket, message) {
    if (this.isAway) return;
    const given = this.answers(message);
    if (given === null) return;
    const word = this.dialect === "workspaces" ? "event" : "type";
    const reply = given ?? { [word]: "done", sent: 1, failed: 0, expires: 2e9 };
    if (reply[word] !== "error") this.states.get(socket)?.take(message);
    this.#later(() => !this.isAway && socket.receive({ ...reply, id: message.id }));
  }

  #later(action) {
    setTimeout(action, this.latency);
  }

  /** The state of the connection that is alive. */
  get state() {
    return this.states.get(FakeSocket.alive.at(-1)) ?? null;
  }

  /** Sends a message of `channel` to every socket that is subscribed and not ended. */
  publish(channel, data = 1) {
    for (const [socket, state] of this.states) {
      if (state.names.has(channel)) socket.receive({ channel, event: "e", data });
    }
  }
}

/**
 * The requests that ask why an upgrade was refused, and their answers: `{ status, error }`, `{ status, text }` of
 * something else than the server, or null where nobody answers.
 */
export const http = { asked: [], answer: null, latency: 10 };

globalThis.fetch = (url, { method, body, signal }) =>
  new Promise((resolve, reject) => {
    http.asked.push([method, url, JSON.parse(body).protocols]);
    signal.addEventListener("abort", () => reject(signal.reason));
    setTimeout(() => {
      if (http.answer === null) return reject(new TypeError("Failed to fetch"));
      const { status, error, text = JSON.stringify({ error }) } = http.answer;
      return resolve({ status, text: async () => text });
    }, http.latency);
  });

/** Starts from nothing, like a page that was loaded again. */
export function reset(dialect) {
  Object.assign(http, { asked: [], answer: null, latency: 10 });
  clock.clear();
  FakeSocket.all.length = 0;
  tab.visibilityState = "visible";
  return new FakeServer(dialect);
}

export function show(visibility) {
  tab.visibilityState = visibility;
  tab.fire("visibilitychange");
}
