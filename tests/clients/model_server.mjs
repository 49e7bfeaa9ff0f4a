// A server in memory, with histories and presence, on a network that delays and loses.

/** Numbers that a seed decides: mulberry32. */
export const seeded = (seed) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
};

const KEPT = 6;
const LATEST = 2;

class Channel {
  epoch = "e1";
  top = 0;
  said = 0;
  /** @type {{offset: number, n: number, isOurs: boolean}[]} */
  log = [];
  people = new Map();
}

export class ModelServer {
  channels = new Map();
  /** Ids of events that were handled, in order. */
  handled = [];
  isDown = false;
  isCalm = false;
  #refs = 0;
  #ids = 0;
  #lives = 1;

  constructor(net, random) {
    this.net = net;
    this.random = random;
    net.onAttempt = (attempt) => {
      attempt.outbox = [];
      attempt.inbox = [];
      attempt.members = new Set();
      attempt.isNew = true;
    };
    net.onSent = (messages, attempt) => attempt.inbox.push(...messages);
  }

  chance(share) {
    return this.random() < share;
  }

  channel(name) {
    if (!this.channels.has(name)) this.channels.set(name, new Channel());
    return this.channels.get(name);
  }

  get live() {
    return this.net.attempts.filter((attempt) => attempt.isOpen && !attempt.isOver);
  }

  /** Answer the attempts, handle some of what came, deliver some of what is under way. */
  turn() {
    for (const attempt of this.net.attempts.slice(-6)) {
      if (attempt.isOver || attempt.letGo) continue;
      if (attempt.isNew) this.#meet(attempt);
      else if (attempt.isOpen) this.#pass(attempt);
    }
  }

  #meet(attempt) {
    if (!this.isCalm && this.chance(0.3)) return; // it lets the client wait
    attempt.isNew = false;
    if (this.isDown) return attempt.end(1006);
    if (!this.isCalm && this.chance(0.15)) return attempt.end(1006);
    if (!this.isCalm && this.chance(0.1)) return attempt.refuse({status: 503, retryAfter: 1});
    attempt.open();
    this.#say(attempt, {action: "CONNECT", event: "CONNECTION", channelName: "GATEWAY", payload: {id: "ann", connectionId: attempt.id}});
  }

  #pass(attempt) {
    const all = this.isCalm;
    for (let count = all ? attempt.inbox.length : Math.floor(this.random() * (attempt.inbox.length + 1)); count > 0; count--) {
      this.#handle(attempt.inbox.shift(), attempt);
    }
    for (let count = all ? attempt.outbox.length : Math.floor(this.random() * (attempt.outbox.length + 1)); count > 0; count--) {
      const message = attempt.outbox.shift();
      attempt.message(message);
      if (message.offset !== undefined && this.chance(0.1)) attempt.message(message);
    }
  }

  #say(attempt, message) {
    attempt.outbox.push({requestId: `s${++this.#ids}`, payload: {}, ...message});
  }

  #handle(message, attempt) {
    const {action, channelName, requestId, payload} = message;
    const answer = (kind, event, given) => this.#say(attempt, {action: kind, event, channelName, requestId, payload: given});
    if (action === "ping") return this.#say(attempt, {action: "SYSTEM", event: "PONG", channelName: "GATEWAY"});
    const channel = this.channel(channelName);
    if (action === "JOIN_CHANNEL") {
      if (attempt.members.has(channelName)) throw new Error("a second JOIN on one connection");
      if (!this.isCalm && message.since && this.chance(0.1)) return answer("SYSTEM", "UNAUTHORIZED", {code: 503, message: "busy"});
      attempt.members.add(channelName);
      this.#recover(channel, message, answer, (entry) => this.#broadcast(attempt, channelName, channel, entry));
    } else if (action === "LEAVE_CHANNEL") {
      attempt.members.delete(channelName);
      answer("SYSTEM", "EXIT_ACKNOWLEDGE", {});
    } else if (!attempt.members.has(channelName)) {
      answer("ERROR", "UNAUTHORIZED_BROADCAST", {error: "UNAUTHORIZED_BROADCAST", code: 403, message: "not a member"});
    } else {
      this.handled.push(payload.id);
      if (message.confirm) answer("SYSTEM", message.event, {id: payload.id});
    }
  }

  #recover(channel, {since}, answer, send) {
    const presence = {joins: [...channel.people.values()], updates: [], leaves: []};
    const missed = since?.epoch === channel.epoch && channel.top - since.offset <= KEPT
      ? channel.log.filter(({offset}) => offset > since.offset) : null;
    if (missed) {
      answer("SYSTEM", "ACKNOWLEDGE", {epoch: channel.epoch, offset: since.offset, recovered: true, presence});
      missed.forEach(send);
      return;
    }
    // The latest ones go to new members, and to those that missed too much.
    const latest = channel.log.slice(-LATEST);
    const offset = latest.length ? latest[0].offset - 1 : channel.top;
    answer("SYSTEM", "ACKNOWLEDGE", {epoch: channel.epoch, offset, ...(since && {recovered: false}), presence});
    latest.forEach(send);
  }

  #broadcast(attempt, channelName, channel, {offset, n, isOurs}) {
    if (isOurs) this.#say(attempt, {action: "BROADCAST", event: "said", channelName, payload: {n}, epoch: channel.epoch, offset});
  }

  #each(name, act) {
    for (const attempt of this.live) if (attempt.members.has(name)) act(attempt);
  }

  /** Say something in a channel; now and then to another member, which takes an offset all the same. */
  say(name, isOurs = this.chance(0.85)) {
    const channel = this.channel(name);
    const entry = {offset: ++channel.top, n: isOurs ? ++channel.said : 0, isOurs};
    channel.log.push(entry);
    channel.log.splice(0, channel.log.length - KEPT);
    this.#each(name, (attempt) => this.#broadcast(attempt, name, channel, entry));
  }

  /** Another member comes, changes or goes. */
  move(name) {
    const channel = this.channel(name);
    const changes = {joins: [], updates: [], leaves: []};
    const known = [...channel.people.values()];
    const one = known[Math.floor(this.random() * known.length)];
    if (!one || this.chance(0.5)) changes.joins.push({user: "ben", ref: `r${++this.#refs}`, presence: {at: 0}});
    else if (this.chance(0.5)) changes.updates.push({...one, presence: {at: one.presence.at + 1}});
    else changes.leaves.push(one);
    for (const person of [...changes.joins, ...changes.updates]) channel.people.set(person.ref, person);
    for (const {ref} of changes.leaves) channel.people.delete(ref);
    this.#each(name, (attempt) => this.#say(attempt, {action: "PRESENCE", event: "DIFF", channelName: name, payload: changes}));
  }

  /** The history is lost under living members. */
  beginAnew(name) {
    const channel = this.channel(name);
    this.#forget(channel);
    this.#each(name, (attempt) => this.#say(attempt, {action: "SYSTEM", event: "ACKNOWLEDGE", channelName: name, payload: {epoch: channel.epoch, offset: 0, recovered: false}}));
  }

  #forget(channel) {
    channel.epoch = `e${++this.#lives}`;
    channel.top = 0;
    channel.log = [];
  }

  cut(attempt) {
    // What has arrived may be handled, though no answer can.
    if (this.chance(0.5)) for (const message of attempt.inbox.splice(0)) this.#handle(message, attempt);
    attempt.end(1006);
  }

  swallow(attempt) {
    attempt.isSwallowed = true;
    attempt.outbox = [];
  }

  /** Say goodbye, and forget everything. */
  restart(afterMs) {
    for (const attempt of this.live) {
      const goodbye = {action: "SYSTEM", event: "GOODBYE", channelName: "GATEWAY", requestId: `s${++this.#ids}`, payload: {code: 1012, reason: "restart", reconnect: true, afterMs}};
      if (this.chance(0.7)) attempt.message(goodbye);
      attempt.end(1012);
    }
    for (const channel of this.channels.values()) this.#forget(channel);
  }
}
