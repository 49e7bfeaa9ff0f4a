// Runs one scenario with the clients published on npm and prints what they saw, one JSON object
// a line; exits with 1 where a client saw something else, or nothing within the limit.
//
//   node peer.mjs <http URL of the endpoint> <websocket | sse | mixed> <scenario>
//
// "mixed" puts the first member on WebSocket and every later one on SSE.

import assert from "node:assert/strict";
import { once } from "node:events";
import { ChannelState, ConnectionState, PondClient, SSEClient } from "@eleven-am/pondsocket-client";
import { EventSource } from "eventsource";

// Node has none of its own, and the client looks for the browser's.
globalThis.EventSource = EventSource;

const WAIT_MS = 10_000;
// Within the test's limit for the whole run, and long enough for a server to start again.
const REJOIN_MS = 20_000;

const [, , endpoint, transports, scenario] = process.argv;
const started = Date.now();
const members = [];

// A channel of this run alone: one server sees many runs.
function room(name) {
  return `/room/${name}-${process.pid}`;
}

function print(line) {
  console.log(JSON.stringify({ at: Date.now() - started, ...line }));
}

class Member {
  #seen = [];
  #waiters = new Set();

  constructor(name, { token = "secret" } = {}) {
    const sse = transports === "sse" || (transports === "mixed" && members.length > 0);
    const Client = sse ? SSEClient : PondClient;
    const url = sse ? endpoint : endpoint.replace(/^http/, "ws");
    // Not in the URL itself: both clients replace its query with their parameters.
    const params = sse ? { token, sse: "unnamed" } : { token };
    this.name = name;
    this.client = new Client(url, params, { maxReconnectDelay: 1000 });
    this.client.onConnectionChange((state) => this.#note("connection", state));
    this.client.onError((error) => this.#note("error", String(error)));
    members.push(this);
  }

  #note(kind, value, channel = null) {
    const entry = { kind, value, channel };
    this.#seen.push(entry);
    print({ who: this.name, saw: kind, value, ...(channel && { channel }) });
    for (const check of [...this.#waiters]) check(entry);
  }

  /** Everything seen so far; `until(..., { after })` and `saw(..., { after })` start from there. */
  get mark() {
    return this.#seen.length;
  }

  saw(kind, test = () => true, { after = 0 } = {}) {
    return this.#seen.slice(after).find((entry) => entry.kind === kind && test(entry.value, entry));
  }

  /** The values of all entries of that kind. */
  all(kind) {
    return this.#seen.filter((entry) => entry.kind === kind).map((entry) => entry.value);
  }

  /** The value of the first entry of that kind that passes, seen already or within the limit. */
  until(kind, test = () => true, { after = 0, limit = WAIT_MS } = {}) {
    const found = this.saw(kind, test, { after });
    if (found) return Promise.resolve(found.value);
    return new Promise((resolve, reject) => {
      const check = (entry) => {
        if (entry.kind !== kind || !test(entry.value, entry)) return;
        clearTimeout(timer);
        this.#waiters.delete(check);
        resolve(entry.value);
      };
      const timer = setTimeout(() => {
        this.#waiters.delete(check);
        reject(new Error(`${this.name} saw no such "${kind}" within ${limit} ms: ${test}`));
      }, limit);
      this.#waiters.add(check);
    });
  }

  async connect() {
    this.client.connect();
    await this.until("connection", (state) => state === ConnectionState.CONNECTED);
    assert.equal(this.client.getState(), ConnectionState.CONNECTED);
  }

  channel(name, params = { name: this.name }) {
    const channel = this.client.createChannel(name, params);
    channel.onChannelStateChange((state) => this.#note("state", state, name));
    channel.onMessage((event, payload) => this.#note("message", { event, payload }, name));
    channel.onMessageEvent("said", (payload) => this.#note("said", payload, name));
    channel.onJoin((presence) => this.#note("join", presence, name));
    channel.onLeave((presence) => this.#note("leave", presence, name));
    channel.onPresenceChange((presence) => this.#note("presence", presence, name));
    channel.onUsersChange((users) => this.#note("users", users, name));
    return channel;
  }

  /** Joins, and waits until the server has said so and this member is on the presence list. */
  async join(name) {
    const after = this.mark;
    const channel = this.channel(name);
    channel.join();
    const joined = (state, entry) => entry.channel === name && state === ChannelState.JOINED;
    const listed = (user, entry) => entry.channel === name && user.name === this.name;
    await this.until("state", joined, { after });
    await this.until("join", listed, { after });
    return channel;
  }
}

async function together(channel, ...names) {
  const group = [];
  for (const name of names) {
    const member = new Member(name);
    await member.connect();
    group.push([member, await member.join(channel)]);
  }
  return group;
}

const named = (...names) => (users) =>
  JSON.stringify(users.map((user) => user.name).sort()) === JSON.stringify(names.sort());

const scenarios = {
  async connects() {
    const ann = new Member("ann");
    await ann.connect();
    if (transports === "sse") assert.match(ann.client.getConnectionId(), /^\S{20,}$/);
  },

  async "is refused with a bad token"() {
    const eve = new Member("eve", { token: "wrong" });
    eve.client.connect();
    await eve.until("error");
    assert.notEqual(eve.client.getState(), ConnectionState.CONNECTED);
    assert(!eve.saw("connection", (state) => state === ConnectionState.CONNECTED));
    // A refusal ends nothing on the server: who has the token is admitted.
    await new Member("ann").connect();
  },

  async joins() {
    const [[ann, channel]] = await together(room("join"), "ann");
    assert.equal(channel.channelState, ChannelState.JOINED);
    assert.deepEqual(channel.presence, [{ name: "ann", status: "online" }]);
    const states = [ChannelState.IDLE, ChannelState.JOINING, ChannelState.JOINED];
    for (const state of states) await ann.until("state", (value) => value === state);
  },

  async "joins before it is connected"() {
    const ann = new Member("ann");
    const channel = ann.channel(room("early"));
    channel.join();
    // What is sent while joining waits in the client and follows the acknowledgement.
    channel.sendMessage("say", { text: "early" });
    ann.client.connect();
    await ann.until("said", (payload) => payload.text === "early" && payload.by === "ann");
  },

  async broadcasts() {
    const [[ann, hers], [bob, his]] = await together(room("broadcast"), "ann", "bob");
    hers.sendMessage("say", { text: "hello, bob" });
    for (const member of [ann, bob]) {
      const said = await member.until("said", (payload) => payload.by === "ann");
      assert.deepEqual(said, { text: "hello, bob", by: "ann" });
    }
    const payload = { text: "grüß dich 🦆", deep: { list: [1, 2.5, null, true] } };
    his.sendMessage("say", payload);
    for (const member of [ann, bob]) {
      const said = await member.until("said", ({ by }) => by === "bob");
      assert.deepEqual(said, { ...payload, by: "bob" });
    }
  },

  async "gets the response to its own request"() {
    const [[, hers], [bob, his]] = await together(room("answers"), "ann", "bob");
    const here = room("answers").replace("/room/", "");
    const answers = await Promise.all([
      hers.sendForResponse("where", { n: 1 }),
      hers.sendForResponse("where", { n: 2 }),
      his.sendForResponse("where", { n: 3 }),
    ]);
    assert.deepEqual(answers, [
      { n: 1, room: here, name: "ann" },
      { n: 2, room: here, name: "ann" },
      { n: 3, room: here, name: "bob" },
    ]);
    const foreign = ({ event, payload }) => event === "here" && payload.name !== "bob";
    assert(!bob.saw("message", foreign));
  },

  async "sees who comes changes and goes"() {
    const channel = room("presence");
    const [[ann, hers], [bob, his]] = await together(channel, "ann", "bob");
    await ann.until("join", (presence) => presence.name === "bob" && presence.status === "online");
    await ann.until("users", named("ann", "bob"));
    await bob.until("users", named("ann", "bob"));
    his.sendMessage("status", { status: "away" });
    const { changed, presence } = await ann.until("presence");
    assert.deepEqual(changed, { name: "bob", status: "away" });
    assert.equal(presence.length, 2);
    assert.deepEqual(hers.presence.find((user) => user.name === "bob"), changed);

    his.leave();
    assert.deepEqual(await ann.until("leave"), { name: "bob", status: "away" });
    const [[cleo]] = await together(channel, "cleo");
    await ann.until("users", named("ann", "cleo"));
    cleo.client.disconnect();
    await ann.until("leave", (gone) => gone.name === "cleo");
    assert.deepEqual(hers.presence, [{ name: "ann", status: "online" }]);
  },

  async "is declined by one channel and joins another"() {
    const mallory = new Member("mallory");
    await mallory.connect();
    const refused = mallory.channel(room("closed"));
    refused.join();
    await mallory.until("state", (state) => state === ChannelState.DECLINED);
    assert.equal(refused.channelState, ChannelState.DECLINED);
    const open = mallory.channel(room("open"), { name: "not mallory" });
    open.join();
    const answer = await open.sendForResponse("where", {});
    const here = room("open").replace("/room/", "");
    assert.deepEqual(answer, { room: here, name: "not mallory" });
  },

  async "hears nothing after it left"() {
    const [[ann, hers], [bob, his]] = await together(room("left"), "ann", "bob");
    const other = await ann.join(room("other"));
    hers.leave();
    await ann.until("state", (state) => state === ChannelState.CLOSED);
    await bob.until("leave", (gone) => gone.name === "ann");
    his.sendMessage("say", { text: "is she gone?" });
    await bob.until("said");
    // Ann's answer is sent to her after what Bob said would have been.
    await other.sendForResponse("where", {});
    assert(!ann.saw("said"));
    // A channel that was left can be joined afresh, under the same name.
    const after = ann.mark;
    const again = await ann.join(room("left"));
    again.sendMessage("say", { text: "I am back" });
    await ann.until("said", (payload) => payload.text === "I am back", { after });
  },

  async "uses the endpoint itself"() {
    const [ann, bob] = [new Member("ann"), new Member("bob")];
    const channels = [];
    for (const member of [ann, bob]) {
      await member.connect();
      channels.push(member.channel("GATEWAY"));
      channels.at(-1).join();
      await member.until("state", (state) => state === ChannelState.JOINED);
    }
    const [hers, his] = channels;
    assert.deepEqual(await hers.sendForResponse("add", { a: 2, b: 3 }), { result: 5 });
    hers.sendMessage("count", { to: 3 });
    await ann.until("said", (payload) => payload.number === 3);
    his.sendMessage("announce", { text: "to all" });
    for (const member of [ann, bob]) {
      await member.until("said", (payload) => payload.text === "to all");
    }
    assert.deepEqual(ann.all("said").map(({ number }) => number), [0, 1, 2, 3, undefined]);
    assert.deepEqual(bob.all("said"), [{ text: "to all" }]);
    hers.leave();
    await ann.until("state", (state) => state === ChannelState.CLOSED);
    const after = ann.mark;
    const again = ann.channel("GATEWAY");
    again.join();
    await ann.until("state", (state) => state === ChannelState.JOINED, { after });
    his.sendMessage("announce", { text: "to all, again" });
    await ann.until("said", (payload) => payload.text === "to all, again", { after });
    for (const member of [ann, bob]) assert(!member.saw("error"));
  },

  async "works on between a goodbye and the end"() {
    const [[ann, hers], [bob]] = await together(room("goodbye"), "ann", "bob");
    const marks = new Map(members.map((member) => [member, member.mark]));
    await hers.sendForResponse("restart", {}); // the goodbye comes before this answer
    for (let number = 0; number < 3; number++) {
      hers.sendMessage("say", { number });
      for (const [member, after] of marks) {
        await member.until("said", (payload) => payload.number === number, { after });
      }
    }
    for (const [member, after] of marks) {
      assert(!member.saw("connection", () => true, { after }));
      assert(!member.saw("state", () => true, { after }));
      assert(!member.saw("error", () => true, { after }));
    }
    for (const [member, after] of marks) {
      await member.until("connection", (state) => state === ConnectionState.DISCONNECTED, { after });
      await member.until("connection", (state) => state === ConnectionState.CONNECTED, { after });
      await member.until("state", (state) => state === ChannelState.JOINED, { after });
      await member.until("users", named("ann", "bob"), { after });
    }
    hers.sendMessage("say", { text: "after" });
    await bob.until("said", (payload) => payload.text === "after");
    await ann.until("said", (payload) => payload.text === "after");
  },

  async "hears what was said before it came"() {
    const channel = room("late").replace("/room/", "/late/");
    const [[ann, hers]] = await together(channel, "ann");
    for (const number of [1, 2, 3]) {
      hers.sendMessage("say", { number });
      await ann.until("said", (payload) => payload.number === number); // its POSTs have no order
    }
    const [[bob, his]] = await together(channel, "bob");
    his.sendMessage("say", { number: 4 });
    for (const [member, numbers] of [[ann, [1, 2, 3, 4]], [bob, [2, 3, 4]]]) {
      await member.until("said", (payload) => payload.number === 4);
      const said = member.all("said").map((payload) => payload.number);
      assert.deepEqual(said, numbers);
      assert(!member.saw("error"));
    }
  },

  async "is not disturbed by heartbeats"() {
    const [[ann, hers], [bob, his]] = await together(room("idle"), "ann", "bob");
    await ann.until("users", named("ann", "bob"));
    await bob.until("users", named("ann", "bob"));
    const marks = new Map(members.map((member) => [member, member.mark]));
    print({ step: "joined" });
    await once(process.stdin, "data"); // many have been sent
    for (const [member, after] of marks) assert.equal(member.mark, after);
    assert.equal((await hers.sendForResponse("where", {})).name, "ann");
    his.sendMessage("say", { text: "quiet here" });
    await ann.until("said", (payload) => payload.text === "quiet here");
    for (const [member, after] of marks) assert(!member.saw("error", () => true, { after }));
  },

  async "rejoins after a restart"() {
    const [[ann, hers], [bob]] = await together(room("restart"), "ann", "bob");
    hers.sendMessage("say", { text: "before" });
    await bob.until("said", (payload) => payload.text === "before");
    await ann.until("said", (payload) => payload.text === "before");
    const marks = new Map(members.map((member) => [member, member.mark]));
    print({ step: "joined" });
    for (const [member, after] of marks) {
      const within = { after, limit: REJOIN_MS };
      await member.until("connection", (state) => state === ConnectionState.DISCONNECTED, within);
      await member.until("connection", (state) => state === ConnectionState.CONNECTED, within);
      await member.until("state", (state) => state === ChannelState.JOINED, within);
      await member.until("users", named("ann", "bob"), within);
    }
    print({ step: "rejoined" });
    hers.sendMessage("say", { text: "after" });
    for (const member of members) await member.until("said", (payload) => payload.text === "after");
    assert.equal((await hers.sendForResponse("where", {})).name, "ann");
  },
};

let code = 0;
try {
  assert(Object.hasOwn(scenarios, scenario), `no scenario "${scenario}"`);
  await scenarios[scenario]();
  print({ step: "passed" });
} catch (error) {
  code = 1;
  print({ step: "failed", error: String(error?.stack ?? error) });
}
for (const { client } of members) client.disconnect();
// The clients keep timers of their own; what has been printed is written first.
process.stdout.write("", () => process.exit(code));
