/** The subscriptions of a client in each dialect, and the requests that change and restore them. */

const TEMPORARY = new Set(["rate_limited", "broker_unavailable", "internal"]);
// Of a filter in the query of an upgrade.
const MOST_QUERY_CHARACTERS = 4000;
const ACCESS_DENIED = "Access denied to room";

/** Channels or rooms, with one request for each; the latest request for a name counts. */
export class Names {
  #verb;
  #field;
  #wanted = new Map(); // name -> { request: the latest, isOpen: unanswered, wasConfirmed: one succeeded }

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

  names() {
    return this.#wanted.keys();
  }

  /** The query of an upgrade has no channels. */
  query() {
    return {};
  }

  /** Whether an earlier request for the same name succeeded. */
  wasHeard(request) {
    return this.#wasConfirmed(request);
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

  /** Whether the request may succeed later. Rooms have no error codes: one that was confirmed before is retried. */
  mayPass(request, { code, message }) {
    return TEMPORARY.has(code) || (code === "refused" && message !== ACCESS_DENIED && this.#wasConfirmed(request));
  }

  /** Removes the name, unless an earlier subscription to it is still in force. */
  refused(request, error) {
    if (!this.isWanted(request)) return;
    const isKept = this.#wasConfirmed(request) && this.mayPass(request, error);
    if (isKept) this.#wanted.get(request[this.#field]).isOpen = false;
    else this.#wanted.delete(request[this.#field]);
  }

  left(name) {
    // A newer request will get its own answer.
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
 * A single filter that each request changes. It is kept as the state that the server has confirmed, and the changes
 * after that in the order of the calls. A refused change is dropped.
 */
class Filter {
  #changes = [];
  #state = null; // null: everything

  restore() {
    const request = this.#state && this.said(this.#state);
    this.#state = null; // as on a new connection
    if (request) this.#changes.unshift(request);
    return [...this.#changes];
  }

  names() {
    return [];
  }

  /** The keys with which the query of an upgrade sets the current state; null if a query cannot express it. */
  query() {
    const lists = this.lists(this.#changes.reduce((state, change) => this.apply(state, change), this.#state));
    const given = Object.entries(lists).filter(([, names]) => names?.length);
    // The server splits the lists at commas, and proxies limit the length of a URL.
    if (given.some(([, names]) => names.some((name) => String(name).includes(",")))) return null;
    const query = Object.fromEntries(given.map(([key, names]) => [key, names.join(",")]));
    return Object.values(query).join("").length <= MOST_QUERY_CHARACTERS ? query : null;
  }

  isCovered(change, restored) {
    return change === restored;
  }

  isWanted(request) {
    return this.#changes.includes(request);
  }

  confirmed(request) {
    // The server answers in order: what was sent before and not answered has had its effect too.
    const count = this.#changes.indexOf(request) + 1;
    for (const change of this.#changes.splice(0, count)) this.#state = this.apply(this.#state, change);
  }

  mayPass() {
    return false;
  }

  refused(request) {
    this.#changes = this.#changes.filter((change) => change !== request);
  }

  left() {}

  change(request) {
    this.#changes.push(request);
    return [request];
  }
}

/** Event types of a workspace: all of them until the first change, then a list of included or excluded ones. */
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

  lists(state) {
    if (state === null) return {};
    const { types, isExcluding } = state;
    if (!types.length) return isExcluding ? {} : { except_event_types: ["*"] };
    return { [isExcluding ? "except_event_types" : "event_types"]: types };
  }

  said({ types, isExcluding }) {
    return isExcluding && !types.length
      ? null
      : { type: isExcluding ? "unsubscribe" : "subscribe", event_types: types };
  }
}

/** Job ids and statuses. Each `subscribe` replaces the filter; a plain list of names means job ids. */
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

  lists(state) {
    return { job_ids: state?.job_ids, statuses: state?.statuses };
  }

  said(state) {
    return { ...state };
  }
}
