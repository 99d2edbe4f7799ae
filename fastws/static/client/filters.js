/** What is wanted, in the words of each dialect: how to ask for it, and how to ask again. */

const TEMPORARY = new Set(["rate_limited", "broker_unavailable", "internal"]);
const ACCESS_DENIED = "Access denied to room";

/** Channels or rooms: one request for each name, and the latest one for a name decides. */
export class Names {
  #verb;
  #field;
  #wanted = new Map(); // name -> its latest request, whether it waits for an answer, whether one was confirmed

  constructor(verb, field) {
    this.#verb = verb;
    this.#field = field;
  }

  add(names) {
    return [names].flat().map((name) => this.#subscribe(name));
  }

  remove(names) {
    return [names].flat().map((name) => (this.#wanted.delete(name), this.#request("unsubscribe", name)));
  }

  restore() {
    return [...this.#wanted.keys()].map((name) => this.#subscribe(name));
  }

  isCovered(change, restored) {
    return change[this.#verb] === "subscribe" && change[this.#field] === restored[this.#field];
  }

  isWanted(request) {
    return this.#wanted.get(request[this.#field])?.request === request;
  }

  confirmed(request) {
    if (!this.isWanted(request)) return;
    Object.assign(this.#wanted.get(request[this.#field]), { isOpen: false, wasConfirmed: true });
  }

  /** Whether the same request may succeed later. Rooms have no codes: what was confirmed once is worth another try. */
  mayPass(request, { code, message }) {
    return TEMPORARY.has(code) || (code === "refused" && message !== ACCESS_DENIED && this.#wasConfirmed(request));
  }

  /** Forgets the name, unless it is still subscribed by an earlier request. */
  refused(request, error) {
    if (!this.isWanted(request)) return;
    const isKept = this.#wasConfirmed(request) && this.mayPass(request, error);
    if (isKept) this.#wanted.get(request[this.#field]).isOpen = false;
    else this.#wanted.delete(request[this.#field]);
  }

  left(name) {
    // A later request for it has an answer of its own.
    if (!this.#wanted.get(name)?.isOpen) this.#wanted.delete(name);
  }

  #wasConfirmed(request) {
    return this.isWanted(request) && this.#wanted.get(request[this.#field]).wasConfirmed;
  }

  #subscribe(name) {
    const request = this.#request("subscribe", name);
    const wasConfirmed = this.#wanted.get(name)?.wasConfirmed ?? false;
    this.#wanted.set(name, { request, isOpen: true, wasConfirmed });
    return request;
  }

  #request(word, name) {
    return { [this.#verb]: word, [this.#field]: name };
  }
}

/**
 * One filter for everything that is heard, changed by each request: what the server has confirmed, and the changes
 * after that in the order of their calls. A change that the server refuses has changed nothing.
 */
class Filter {
  #changes = [];
  #state = null; // null: everything

  restore() {
    const request = this.#state && this.said(this.#state);
    this.#state = null; // that of a fresh connection
    if (request) this.#changes.unshift(request);
    return [...this.#changes];
  }

  isCovered(change, restored) {
    return change === restored;
  }

  isWanted(request) {
    return this.#changes.includes(request);
  }

  confirmed(request) {
    if (this.#drop(request)) this.#state = this.apply(this.#state, request);
  }

  mayPass() {
    return false;
  }

  refused(request) {
    this.#drop(request);
  }

  left() {}

  change(request) {
    this.#changes.push(request);
    return [request];
  }

  #drop(request) {
    const at = this.#changes.indexOf(request);
    if (at >= 0) this.#changes.splice(at, 1);
    return at >= 0;
  }
}

/** Event types of a workspace: all of them, only some, or all but some (`isExcluding`). */
export class EventTypes extends Filter {
  add(types) {
    return this.change({ type: "subscribe", event_types: [types].flat() });
  }

  remove(types) {
    return this.change({ type: "unsubscribe", event_types: [types].flat() });
  }

  apply(state, { type, event_types: named }) {
    const { types, isExcluding } = state ?? { types: [], isExcluding: true };
    const isAll = named.includes("*");
    if (type === "subscribe") {
      if (isAll) return null;
      return { types: isExcluding ? named : [...new Set([...types, ...named])], isExcluding: false };
    }
    if (isAll) return { types: [], isExcluding: false };
    if (isExcluding) return { types: [...new Set([...types, ...named])], isExcluding };
    return { types: types.filter((each) => !named.includes(each)), isExcluding };
  }

  said({ types, isExcluding }) {
    return isExcluding && !types.length
      ? null
      : { type: isExcluding ? "unsubscribe" : "subscribe", event_types: types };
  }
}

/** Job ids and statuses: each `subscribe` replaces the filter; a list of names alone means job ids. */
export class Jobs extends Filter {
  add(wanted) {
    const { jobIds = [], statuses = [] } =
      typeof wanted === "string" || Array.isArray(wanted) ? { jobIds: [wanted].flat() } : wanted;
    return this.change({ type: "subscribe", job_ids: jobIds, statuses });
  }

  remove() {
    return this.change({ type: "unsubscribe" });
  }

  apply(_, request) {
    return request.type === "subscribe" ? request : null;
  }

  said(state) {
    return { ...state };
  }
}
