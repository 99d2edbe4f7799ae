/** The members of a channel, as far as one client knows them. */

export const NOBODY = { count: 0, users: 0, members: [], isComplete: false };

/** At most `limit` members, kept up to date. The user of this class sends the requests for them. */
export class MemberList {
  shown = NOBODY;
  #asked = null; // the updates since the members were asked for; null: no request is under way
  #hasMembers = true; // false: the channel shows only figures

  constructor(limit) {
    this.limit = limit;
  }

  /** Begins a request. Returns what `answered` or `failed` is to be called with. */
  ask() {
    this.#asked = [];
    return this.#asked;
  }

  /** Takes the answer of a request, unless a later one has begun. Returns whether to ask again. */
  answered(request, { count, users, members, cursor }) {
    if (request !== this.#asked) return false;
    this.#asked = null;
    this.#hasMembers = members !== undefined;
    this.shown = { count, users, members: members ?? [], isComplete: cursor === null };
    return request.map((update) => this.update(update)).includes(true);
  }

  /** A request has failed. Returns whether it was the latest. `isKept`: the list stays until the next one. */
  failed(request, isKept) {
    if (request !== this.#asked) return false;
    this.#asked = null;
    if (!isKept) this.shown = { ...this.shown, members: [], isComplete: false };
    return true;
  }

  /** Applies an update. Returns whether to ask for the members. */
  update({ joined, left, count, users, partial }) {
    this.#asked?.push({ joined, left, count, users, partial });
    const { members, isComplete } = this.shown;
    // Above the limit the list stays incomplete: then it becomes empty, instead of a request at each such update.
    const asks = this.#hasMembers && (count <= this.limit ? partial || !isComplete : partial && isComplete);
    if (partial) {
      this.shown = { count, users, members: asks ? members : [], isComplete: asks && isComplete };
    } else {
      const changed = new Set([...left, ...joined].map((member) => member.connection_id));
      const all = [...members.filter((member) => !changed.has(member.connection_id)), ...joined];
      this.shown = { count, users, members: all.slice(0, this.limit), isComplete: isComplete && all.length <= this.limit };
    }
    return asks && this.#asked === null;
  }
}
