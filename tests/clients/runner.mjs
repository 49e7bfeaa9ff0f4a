// Runs one shared scenario; README.md says what its fields mean.

import assert from "node:assert/strict";

import {connect} from "../../packages/pondsocket-asgi/src/pondsocket_asgi/browser/pondsocket.js";
import {Clock, Net, Page, settle} from "./fakes.mjs";

const URL_ = "https://pond.test/socket";
const ACTIONS = ["do", "server", "clock", "sleep", "page", "given"];
const FIELDS = ["attempts", "sent", "heard", "done", "status", "letGo", "rooms"];

class Run {
  clock = new Clock();
  net = new Net();
  page = new Page();
  vars = new Map();
  heard = [];
  done = {};
  unsettled = new Set();
  signals = new Map();
  rooms = new Map();
  seenAttempts = 0;
  messages = 0;

  constructor(scenario, over) {
    const {params, tokens} = scenario.options ?? {};
    this.tokens = tokens && [...tokens];
    const token = () => {
      assert.ok(this.tokens.length, "the token was asked for too often");
      const next = this.tokens.shift();
      if (next?.error) throw new Error(next.error);
      return next;
    };
    this.pond = connect(URL_, {
      params,
      token: tokens && token,
      transports: over === "sse" ? ["sse"] : undefined,
      WebSocket: this.net.WebSocket,
      fetch: this.net.fetch,
    });
    this.#listen(this.pond, undefined);
    this.pond.on("status", ({error}) => error && this.heard.push({is: "error", code: error.code}));
  }

  #listen(port, channel) {
    const hear = (what) => this.heard.push({...(channel && {channel}), ...what});
    port.on("", ({event, payload}) => hear({is: "message", event, payload}));
    if (!channel) return;
    port.on("joined", () => hear({is: "joined"}));
    port.on("rejoined", ({recovered}) => hear({is: "rejoined", recovered}));
    port.on("presence", (people, {joins, updates, leaves}) => {
      assert.equal(people, port.presence);
      const refs = (list) => list.map(({ref}) => ref);
      hear({is: "presence", joins: refs(joins), updates: refs(updates), leaves: refs(leaves)});
    });
    port.on("state", ({state, error, reason}) => {
      if (state === "refused") hear({is: "refused", code: error.code});
      else if (state === "evicted") hear({is: "evicted", reason});
      else if (error && state !== "left") hear({is: "error", code: error.code});
    });
  }

  room(name, params) {
    const room = this.pond.channel(name, params && {params});
    if (!this.rooms.has(name)) {
      this.rooms.set(name, room);
      this.#listen(room, name);
    }
    assert.equal(room, this.rooms.get(name), "two objects of one name");
    return room;
  }

  /** Record how a promise ends. */
  track(name, promise, value = (given) => given) {
    this.unsettled.add(promise);
    promise.then(
      (given) => {
        this.unsettled.delete(promise);
        if (name) this.done[name] = {ok: value(given) ?? null};
      },
      (error) => {
        this.unsettled.delete(promise);
        const what = error.name === "TimeoutError" ? "timeout" : error.name === "AbortError" ? "aborted" : error.code;
        if (name) this.done[name] = {error: what};
      },
    );
  }

  #options({as, timeout, queue}) {
    const controller = new AbortController();
    if (as) this.signals.set(as, controller);
    return {signal: controller.signal, ...(timeout !== undefined && {timeout}), ...(queue !== undefined && {queue})};
  }

  do(step) {
    const {do: what, as, channel, event, payload, params} = step;
    const port = channel ? this.room(channel, params) : this.pond;
    if (what === "connect") this.pond.connect();
    else if (what === "close") this.pond.close();
    else if (what === "join") this.track(as, port.join(this.#options(step)), ({response}) => response);
    else if (what === "leave") this.track(as, port.leave());
    else if (what === "call") this.track(as, port.call(event, payload, this.#options(step)));
    else if (what === "abort") this.signals.get(as).abort();
    else if (what === "send") {
      const ok = port.send(event, payload, step.queue === undefined ? {} : {queue: step.queue});
      if (as) this.done[as] = {ok};
    } else assert.fail(`unknown: ${what}`);
  }

  #fill(value) {
    if (typeof value === "string" && value.startsWith("$")) {
      assert.ok(this.vars.has(value), `${value} stands for nothing yet`);
      return this.vars.get(value);
    }
    if (Array.isArray(value)) return value.map((each) => this.#fill(each));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, this.#fill(each)]));
    }
    return value;
  }

  say(attempt, message) {
    attempt.message({requestId: `s${++this.messages}`, payload: {}, channelName: "GATEWAY", ...this.#fill(message)});
  }

  opened(attempt, id = "ann") {
    if (!attempt.isOpen) attempt.open();
    this.say(attempt, {action: "CONNECT", event: "CONNECTION", payload: {id, connectionId: attempt.id}});
  }

  async server({server: what, on}) {
    const attempt = on ? this.net.attempts[on - 1] : this.net.last;
    assert.ok(attempt, "nothing was tried yet");
    if (what === "open") attempt.open();
    else if (what === "connect") this.opened(attempt);
    else if (what === "comment") attempt.comment();
    else if (what === "cut") attempt.end(1006);
    else if (what === "swallow") attempt.isSwallowed = true;
    else if (what === "block") attempt.end(1006);
    else if (what === "unreachable") {
      this.net.asked = "unreachable";
      attempt.end(1006);
      await settle();
      this.net.asked = undefined;
    } else if (what.message) this.say(attempt, what.message);
    else if (what.messages) for (const message of what.messages) this.say(attempt, message);
    else if (what.goodbye) this.say(attempt, {action: "SYSTEM", event: "GOODBYE", retry: what.retry, payload: {reason: "", ...what.goodbye}});
    else if (what.close) attempt.end(what.close);
    else if (what.posts) this.net.posts = what.posts;
    else if (what.refuse) {
      this.net.asked = what.refuse;
      attempt.refuse(what.refuse);
      await settle();
      this.net.asked = undefined;
    } else assert.fail(`unknown: ${JSON.stringify(what)}`);
  }

  async given(step) {
    if (!this.net.last) {
      this.pond.connect();
      await settle();
      this.opened(this.net.last);
      await settle();
    }
    if (step.given === "joined") {
      const joined = this.room(step.channel, step.params).join();
      await settle();
      this.say(this.net.last, {action: "SYSTEM", event: "ACKNOWLEDGE", channelName: step.channel, requestId: this.net.sent.at(-1).requestId, payload: step.ack ?? {}});
      await settle();
      await joined;
    }
    this.forget();
  }

  forget() {
    this.seenAttempts = this.net.attempts.length;
    this.net.sent = [];
    this.heard = [];
    this.done = {};
  }

  async step(step) {
    const actions = Object.keys(step).filter((name) => ACTIONS.includes(name));
    assert.ok(actions.length <= 1, `more than one action: ${actions}`);
    const attempts = this.net.attempts.length;
    if (actions[0] === "do") for (const each of Array.isArray(step.do) ? step.do : [step]) this.do(each);
    else if (actions[0] === "server") await this.server(step);
    else if (actions[0] === "clock") await this.clock.advance(step.clock);
    else if (actions[0] === "sleep") await this.clock.sleep(step.sleep);
    else if (actions[0] === "page") this.page.fire(step.page);
    else if (actions[0] === "given") return this.given(step);
    await settle();
    await this.#zero();
    if (this.net.attempts.length > attempts) this.net.posts = 204;
    this.check(step.expect ?? {});
    this.forget();
  }

  // What takes a task is done without time going on.
  async #zero() {
    await this.clock.advance(0);
    await settle();
  }

  check(expect) {
    for (const name of Object.keys(expect)) assert.ok(FIELDS.includes(name), `unknown: ${name}`);
    const {attempts = [], sent = [], heard = [], done = {}, status, letGo, rooms} = expect;
    const tried = this.net.attempts.slice(this.seenAttempts).map(({to, query, token}) => ({to, query, token}));
    assert.equal(tried.length, attempts.length, `attempts: ${JSON.stringify(tried)}`);
    attempts.forEach((each, place) => this.#match(each, tried[place], `attempts[${place}]`));
    this.#sent(sent);
    assert.deepEqual(this.heard, heard.map((each) => (each.is === "presence" ? {...each, joins: each.joins ?? [], updates: each.updates ?? [], leaves: each.leaves ?? []} : each)), "heard");
    assert.deepEqual(this.done, done, "done");
    if (status) {
      const {until, ...now} = this.pond.status;
      this.#match(status, {...now, waits: until && until - this.clock.now}, "status");
    }
    if (letGo) assert.deepEqual(this.net.attempts.filter((attempt) => attempt.letGo).map(({number}) => number), letGo, "letGo");
    for (const [name, {state, people}] of Object.entries(rooms ?? {})) {
      const room = this.room(name);
      if (state) assert.equal(room.state, state, name);
      if (people) assert.deepEqual([...room.presence.keys()].sort(), [...people].sort(), name);
    }
  }

  #sent(expected) {
    const {sent} = this.net;
    assert.equal(sent.length, expected.length, `sent: ${JSON.stringify(sent)}`);
    expected.forEach((each, place) => {
      const message = sent[place];
      this.#match(each, message, `sent[${place}]`);
      for (const name of ["since", "confirm"]) assert.ok(!(name in message) || name in each, `${name} in ${JSON.stringify(message)}`);
      assert.ok("payload" in each || !Object.keys(message.payload ?? {}).length, `a payload in ${JSON.stringify(message)}`);
    });
  }

  #match(expected, actual, place) {
    if (typeof expected === "string" && expected.startsWith("$") && !this.vars.has(expected)) {
      assert.equal(typeof actual, "string", place);
      assert.ok(![...this.vars.values()].includes(actual), `${place} is not a new one`);
      this.vars.set(expected, actual);
    } else if (expected && typeof expected === "object" && !Array.isArray(expected)) {
      assert.ok(actual && typeof actual === "object", place);
      const isOpen = !place.includes(".");
      for (const [name, each] of Object.entries(expected)) this.#match(each, actual[name], `${place}.${name}`);
      if (!isOpen) assert.deepEqual(Object.keys(actual).sort(), Object.keys(expected).sort(), place);
    } else assert.deepEqual(actual, this.#fill(expected), place);
  }

  async finish() {
    this.forget();
    this.pond.close();
    await settle();
    assert.equal(this.clock.timers.size, 0, "timers are left");
    assert.deepEqual(this.net.sent, [], "sent by close");
    assert.ok(!this.page.isListenedTo, "listeners of the page are left");
    assert.equal(this.unsettled.size, 0, "promises that never end");
    for (const attempt of this.net.attempts) assert.ok(attempt.letGo || attempt.isOver, `connection ${attempt.number} is left`);
    if (this.tokens) assert.deepEqual(this.tokens, [], "tokens that were not asked for");
    await this.clock.advance(3_600_000);
    assert.deepEqual(this.net.attempts.slice(this.seenAttempts), [], "attempts after close");
  }
}

/** Run a scenario over one transport. */
export const run = async (scenario, over) => {
  const run = new Run(scenario, over);
  run.clock.install(() => scenario.random ?? 0.5);
  run.page.install();
  try {
    for (const [place, step] of scenario.steps.entries()) {
      try {
        await run.step(step);
      } catch (error) {
        error.message = `step ${place}, ${JSON.stringify(step).slice(0, 200)}: ${error.message}`;
        throw error;
      }
    }
    await run.finish();
  } finally {
    run.clock.uninstall();
    run.page.uninstall();
  }
};
