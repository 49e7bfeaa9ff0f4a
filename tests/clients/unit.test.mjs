// What the shared scenarios cannot say: the interface of this language, and many clients at once.

import assert from "node:assert/strict";
import {afterEach, beforeEach, describe, test} from "node:test";

import * as client from "../../packages/pondsocket-asgi/src/pondsocket_asgi/browser/pondsocket.js";
import {Clock, Net, Page, settle} from "./fakes.mjs";
import {seeded} from "./model_server.mjs";

const {connect, PondError} = client;
const URL_ = "https://pond.test/socket";
const CHAT = "/chat/1";

let clock, net, page, pond, random, reported;

const made = (options = {}) => (pond = connect(URL_, {WebSocket: net.WebSocket, fetch: net.fetch, ...options}));
const say = (message, attempt = net.last) => attempt.message({requestId: "s", payload: {}, channelName: CHAT, ...message});
const open = async (attempt = net.last) => {
  attempt.open();
  say({action: "CONNECT", event: "CONNECTION", channelName: "GATEWAY", payload: {id: "ann", connectionId: attempt.id}}, attempt);
  await settle();
};
const acknowledge = async (payload = {}) => {
  say({action: "SYSTEM", event: "ACKNOWLEDGE", requestId: net.sent.at(-1).requestId, payload});
  await settle();
};
const joined = async (payload, options) => {
  const room = made(options).channel(CHAT);
  const joining = room.join();
  await settle();
  await open();
  await acknowledge(payload);
  await joining;
  return room;
};
const said = async (n, extra = {}) => {
  say({action: "BROADCAST", event: "said", payload: {n}, ...extra});
  await settle();
};

// Over a stream, as two WebSockets did not open.
const blocked = async () => {
  made().connect();
  for (let time = 0; time < 2; time++) {
    await settle();
    net.last.end(1006);
    await settle();
    await open();
    say({action: "SYSTEM", event: "PONG", channelName: "GATEWAY"});
    await settle();
    await clock.advance(time ? 0 : 250);
  }
  assert.equal(pond.status.transport, "sse");
};

beforeEach(() => {
  clock = new Clock();
  net = new Net();
  page = new Page();
  random = () => 0.5;
  clock.install(() => random());
  page.install();
  reported = [];
  globalThis.reportError = (error) => reported.push(error);
});

afterEach(async () => {
  pond?.close();
  await settle();
  const left = clock.timers.size;
  clock.uninstall();
  page.uninstall();
  delete globalThis.reportError;
  assert.equal(left, 0, "timers are left");
});

describe("the module", () => {
  test("has two names", () => {
    made();
    assert.deepEqual(Object.keys(client).sort(), ["PondError", "connect"]);
  });

  test("does nothing before the first join", async () => {
    made().channel(CHAT).on("said", () => {});
    pond.subscribe(() => {});
    await settle();
    assert.equal(net.attempts.length, 0);
    assert.ok(!page.isListenedTo);
    assert.equal(pond.status.state, "stopped");
  });
});

describe("the address", () => {
  test("params are asked anew for every attempt, and null ones are left out", async () => {
    let version = 0;
    made({params: async () => ({version: ++version, tag: null, "a b": "c&d"})}).connect();
    await settle();
    assert.deepEqual(net.last.query, {version: "1", "a b": "c&d"});
    net.last.end(1012);
    await settle();
    await clock.advance(20_000);
    assert.equal(net.attempts.findLast(({to}) => to === "websocket").query.version, String(version));
    assert.ok(version > 1);
  });

  test("wss: and https: are the same", async () => {
    pond = connect("wss://pond.test/socket?a=1", {WebSocket: net.WebSocket, fetch: net.fetch, transports: ["sse"]});
    pond.connect();
    await settle();
    assert.equal(net.last.url, "https://pond.test/socket?a=1");
    pond.close();
    made().connect();
    await settle();
    assert.equal(net.last.url, "wss://pond.test/socket");
  });

  test("a path is one of the page's host", async () => {
    globalThis.location = {href: "https://example.test/app/"};
    pond = connect("/ws/socket", {WebSocket: net.WebSocket, fetch: net.fetch});
    pond.connect();
    await settle();
    delete globalThis.location;
    assert.equal(net.last.url, "wss://example.test/ws/socket");
  });

  test("the reason is told to the token function", async () => {
    const reasons = [];
    made({transports: ["sse"], token: ({reason}) => `t-${reasons.push(reason)}`}).connect();
    await settle();
    net.last.refuse({status: 401});
    await settle();
    await clock.advance(250);
    assert.deepEqual(reasons, ["first", "expired"]);
    assert.equal(net.last.token, "t-2");
    pond.close();
  });

  test("a token function that hangs is no connection that hangs", async () => {
    made({transports: ["sse"], token: () => new Promise(() => {})}).connect();
    await clock.advance(10_000);
    assert.equal(pond.status.state, "waiting");
  });

  test("an address that is none is said", async () => {
    pond = connect("ftp:/x", {WebSocket: net.WebSocket, fetch: net.fetch});
    pond.connect();
    await settle();
    assert.equal(pond.status.state, "waiting");
    assert.match(pond.status.reason, /ftp/);
  });
});

describe("handlers", () => {
  test("are told the payload and the position", async () => {
    const room = await joined({epoch: "e1", offset: 0});
    const heard = [];
    const off = room.on("said", ({n}, {offset, epoch, requestId}) => heard.push([n, offset, epoch, requestId]));
    await said(1, {epoch: "e1", offset: 1, requestId: "r"});
    off();
    await said(2, {epoch: "e1", offset: 2});
    assert.deepEqual(heard, [[1, 1, "e1", "r"]]);
    assert.deepEqual(room.position, {epoch: "e1", offset: 2});
  });

  test("that throw disturb no other, and are reported", async () => {
    const room = await joined();
    const heard = [];
    const error = new Error("a fault of the page");
    room.on("said", () => {
      throw error;
    });
    room.on("said", ({n}) => heard.push(n));
    await said(1);
    await said(2);
    assert.deepEqual(heard, [1, 2]);
    assert.deepEqual(reported, [error, error]);
  });

  test("that another has stopped are not called", async () => {
    const room = await joined();
    const heard = [];
    room.on("said", () => off());
    const off = room.on("said", ({n}) => heard.push(n));
    await said(1);
    assert.deepEqual(heard, []);
  });

  test("of the same function are two", async () => {
    const room = await joined();
    let count = 0;
    const add = () => count++;
    const off = room.on("said", add);
    room.on("said", add);
    await said(1);
    off();
    await said(2);
    assert.equal(count, 3);
  });

  test("hear an event of the application with a name of the client's under `app:`", async () => {
    const room = await joined();
    const heard = [];
    for (const name of ["joined", "app:joined", "presence", "app:presence"]) room.on(name, () => heard.push(name));
    say({action: "BROADCAST", event: "joined"});
    say({action: "BROADCAST", event: "presence"});
    await settle();
    assert.deepEqual(heard, ["app:joined", "app:presence"]);
  });

  test("of `joined` run when the queue is sent", async () => {
    const room = made().channel(CHAT);
    room.join();
    room.send("say", {n: 1});
    room.on("joined", () => room.send("say", {n: 2}));
    await settle();
    await open();
    await acknowledge();
    assert.deepEqual(net.sent.slice(1).map(({payload}) => payload.n), [1, 2]);
  });

  test("may close the client", async () => {
    const room = await joined();
    room.on("said", () => pond.close());
    await said(1);
    assert.equal(pond.status.state, "stopped");
    assert.equal(clock.timers.size, 0);
  });
});

describe("once", () => {
  test("is the next event", async () => {
    const room = await joined();
    const next = room.once("said");
    await said(1);
    await said(2);
    assert.deepEqual(await next, {n: 1});
  });

  test("has a time limit and a signal", async () => {
    const room = await joined();
    const late = room.once("said", {timeout: 1000});
    const stop = new AbortController();
    const ended = room.once("said", {signal: stop.signal});
    await clock.advance(1000);
    await assert.rejects(late, {name: "TimeoutError"});
    stop.abort(new Error("enough"));
    await assert.rejects(ended, {message: "enough"});
    await assert.rejects(room.once("said", {signal: AbortSignal.abort()}), {name: "AbortError"});
  });
});

describe("events", () => {
  const collect = async (iterator, into) => {
    for await (const {event, payload, offset} of iterator) into.push([event, payload, offset]);
    into.push("end");
  };

  test("come in order, with gaps, until the channel is left", async () => {
    const room = await joined({epoch: "e1", offset: 0});
    const heard = [];
    const reading = collect(room.events(), heard);
    await said(1, {epoch: "e1", offset: 1});
    net.last.end(1006);
    await settle();
    await clock.advance(250);
    await open();
    await acknowledge({epoch: "e2", offset: 0, recovered: false});
    await said(2, {epoch: "e2", offset: 1});
    room.leave();
    await clock.advance(0);
    await reading;
    assert.deepEqual(heard.map((each) => (Array.isArray(each) ? each[0] : each)), ["said", "rejoined", "said", "end"]);
    assert.equal(heard[1][1].recovered, false);
    assert.equal(heard[2][2], 1);
  });

  test("that came before the first was read are there", async () => {
    const room = await joined();
    const iterator = room.events();
    await said(1);
    assert.deepEqual((await iterator.next()).value.payload, {n: 1});
    await iterator.return();
  });

  test("that nothing reads throw when there are too many", async () => {
    const room = await joined();
    const iterator = room.events({limit: 3});
    for (let n = 0; n < 5; n++) await said(n);
    await assert.rejects(iterator.next(), (error) => error instanceof PondError && error.code === "slow");
  });

  test("end with a signal, and with a refusal", async () => {
    const room = await joined();
    const stop = new AbortController();
    const reading = collect(room.events({signal: stop.signal}), []);
    stop.abort(new Error("enough"));
    await assert.rejects(reading, {message: "enough"});
    const refused = collect(room.events(), []);
    net.last.end(1006);
    await settle();
    await clock.advance(250);
    await open();
    say({action: "SYSTEM", event: "UNAUTHORIZED", requestId: net.sent.at(-1).requestId, payload: {code: 403, message: "no more"}});
    await assert.rejects(refused, {code: 403});
  });
});

describe("calls and joins", () => {
  test("end with what the server says", async () => {
    const room = await joined();
    const answer = room.call("say", {});
    await settle();
    say({action: "ERROR", event: "INVALID_MESSAGE", requestId: net.sent.at(-1).requestId, payload: {error: "INVALID_MESSAGE", code: 422, message: "It does not fit.", details: [{loc: ["text"]}], retryAfterMs: 5}});
    await assert.rejects(answer, (error) => {
      assert.ok(error instanceof PondError && error instanceof Error);
      assert.deepEqual([error.code, error.message, error.details, error.retryAfterMs], [422, "It does not fit.", [{loc: ["text"]}], 5]);
      return true;
    });
  });

  test("of a channel that was left in the moment of a loss are not undone", async () => {
    const room = await joined();
    room.leave();
    net.last.end(1006);
    room.join();
    await clock.advance(250);
    await open();
    assert.equal(room.state, "joining");
    assert.equal(net.sent.at(-1).action, "JOIN_CHANNEL");
  });

  test("with a payload that is changed later send what it was", async () => {
    const room = made().channel(CHAT);
    room.join();
    const payload = {n: 1};
    room.send("say", payload);
    payload.n = 2;
    await settle();
    await open();
    await acknowledge();
    assert.equal(net.sent.at(-1).payload.n, 1);
    const ring = {};
    ring.ring = ring;
    assert.throws(() => room.send("say", ring), TypeError);
    assert.equal(room.send("say", {}), true);
  });

  test("whose params function raises are refused, and disturb no other", async () => {
    const room = made().channel(CHAT, {params: () => {
      throw new Error("no nick");
    }});
    const joining = room.join();
    pond.channel("/chat/2").join();
    await settle();
    await open();
    await assert.rejects(joining, {message: "no nick"});
    assert.equal(room.state, "refused");
    assert.deepEqual(net.sent.map(({channelName}) => channelName), ["/chat/2"]);
    assert.equal(pond.status.state, "open");
  });

  test("that nothing waits for end no process", async () => {
    const seen = [];
    const see = (error) => seen.push(error);
    process.on("unhandledRejection", see);
    const room = await joined();
    room.call("say", {}, {timeout: 10});
    room.once("said", {timeout: 10});
    pond.channel("/chat/2").join({timeout: 10});
    await clock.advance(10);
    room.call("say");
    pond.close();
    room.join();
    pond.call("now");
    await settle();
    await settle();
    process.off("unhandledRejection", see);
    assert.deepEqual(seen, []);
  });

  test("end with the reason of a signal that has ended already, and send nothing", async () => {
    const room = await joined();
    const count = net.sent.length;
    const signal = AbortSignal.abort(new Error("enough"));
    await assert.rejects(room.call("say", {}, {signal}), {message: "enough"});
    await assert.rejects(pond.channel("/chat/2").join({signal}), {message: "enough"});
    await settle();
    assert.equal(net.sent.length, count);
    assert.equal(pond.channel("/chat/2").state, "left");
  });

  test("without a limit have none", async () => {
    const room = await joined();
    const ended = [];
    room.call("say", {}, {timeout: Infinity}).catch(() => ended.push(1));
    assert.equal(clock.timers.size, 2); // of the connection
    await settle();
    assert.deepEqual(ended, []);
  });

  test("params may be a function, asked for every JOIN", async () => {
    let count = 0;
    const room = made().channel(CHAT, {params: () => ({count: ++count})});
    room.join();
    await settle();
    await open();
    await acknowledge();
    net.last.end(1006);
    await settle();
    await clock.advance(250);
    await open();
    assert.deepEqual(net.sent.map(({payload}) => payload), [{count: 1}, {count: 2}]);
  });

  test("a WebSocket that takes nothing more is said to be full", async () => {
    const room = await joined();
    let sockets = 0;
    const {WebSocket} = net;
    pond.close();
    class Full extends WebSocket {
      constructor(...given) {
        super(...given);
        sockets++;
        this.bufferedAmount = 2 ** 20 + 1;
      }
    }
    const full = connect(URL_, {WebSocket: Full, fetch: net.fetch});
    full.connect();
    await settle();
    await open();
    assert.equal(full.send("say", {}), false);
    await assert.rejects(full.call("say", {}), {code: "unsent"});
    full.close();
    assert.equal(sockets, 1);
    assert.equal(room.state, "left");
  });
});

describe("subscribe", () => {
  test("calls at once and after every change, as Svelte's stores do", async () => {
    const room = await joined({presence: {joins: [{user: "ben", ref: "r1", presence: {}}], updates: [], leaves: []}});
    const rooms = [];
    const ponds = [];
    const {subscribe} = room;
    const offs = [subscribe((value) => rooms.push([value.state, value.presence.size])), pond.subscribe(({state}) => ponds.push(state))];
    net.last.end(1006);
    await settle();
    for (const off of offs) off();
    pond.close();
    assert.deepEqual(rooms, [["joined", 1], ["joining", 1]]);
    assert.deepEqual(ponds, ["open", "waiting"]);
  });

  test("has values that are the same until they change, as React wants them", async () => {
    const room = await joined({presence: {joins: [{user: "ben", ref: "r1", presence: {}}], updates: [], leaves: []}});
    const {status, presence} = room;
    await said(1);
    assert.equal(room.status, status);
    assert.equal(room.presence, presence);
    assert.equal(pond.status, pond.status);
    say({action: "PRESENCE", event: "DIFF", payload: {joins: [], updates: [], leaves: [{user: "ben", ref: "r1", presence: {}}]}});
    assert.notEqual(room.presence, presence);
    assert.equal(room.status, status);
    assert.equal(presence.size, 1);
  });
});

describe("what is sent and received", () => {
  test("is shown to `trace`", async () => {
    const seen = [];
    const room = await joined({}, {trace: (way, {action, event}) => seen.push([way, action, event])});
    room.send("say", {});
    assert.deepEqual(seen, [["in", "CONNECT", "CONNECTION"], ["out", "JOIN_CHANNEL", "join"], ["in", "SYSTEM", "ACKNOWLEDGE"], ["out", "BROADCAST", "say"]]);
  });

  test("is ignored where it is none of the protocol", async () => {
    const room = await joined();
    let socket;
    pond.close();
    class Known extends net.WebSocket {
      constructor(...given) {
        super(...given);
        socket = this;
      }
    }
    pond = connect(URL_, {WebSocket: Known, fetch: net.fetch});
    pond.connect();
    await settle();
    for (const data of ["{", "null", "<html>"]) socket.onmessage({data});
    await open();
    for (const data of ["{", "null"]) socket.onmessage({data});
    assert.equal(pond.status.state, "open");
    assert.equal(room.state, "left");
  });

  test("a page in place of a stream is no stream", async () => {
    const page = async () => new Response("<html>Log in, please</html>", {headers: {"Content-Type": "text/html"}});
    pond = connect(URL_, {transports: ["sse"], fetch: page});
    pond.connect();
    await settle();
    await settle();
    assert.equal(pond.status.state, "waiting");
  });

  test("64 messages at most are in one POST, and 64 KiB", async () => {
    const bodies = [];
    const {fetch} = net;
    const room = await joined({}, {
      transports: ["sse"],
      fetch: (url, init) => {
        if (init.method === "POST") bodies.push(init.body);
        return fetch(url, init);
      },
    });
    bodies.length = 0;
    for (let n = 0; n < 200; n++) room.send("say", {n});
    for (let turn = 0; turn < 5; turn++) await settle();
    const counts = bodies.map((body) => JSON.parse(body).length);
    assert.deepEqual(counts, [1, 64, 64, 64, 7]);
    assert.deepEqual(bodies.flatMap((body) => JSON.parse(body).map(({payload}) => payload.n)), [...Array(200).keys()]);
    bodies.length = 0;
    for (let n = 0; n < 10; n++) room.send("say", {text: "x".repeat(30_000)});
    for (let turn = 0; turn < 10; turn++) await settle();
    assert.ok(bodies.length >= 5 && bodies.every((body) => body.length < 70_000), `${bodies.map(({length}) => length)}`);
  });

  test("a stream whose POST hangs takes 1,024 messages, and no more", async () => {
    const room = await joined({}, {transports: ["sse"]});
    net.posts = "hold";
    room.send("say", {});
    let taken = 0;
    while (room.send("say", {n: taken}) && taken < 5000) taken++;
    assert.equal(taken, 1024);
    await assert.rejects(room.call("say", {}), {code: "unsent"});
  });
});

describe("a second attempt", () => {
  test("is not made beside a second attempt", async () => {
    await blocked();
    const before = net.attempts.length;
    for (let time = 0; time < 3; time++) {
      page.fire("online");
      await clock.advance(100);
      say({action: "SYSTEM", event: "PONG", channelName: "GATEWAY"}, net.attempts[3]);
      await settle();
    }
    assert.equal(net.attempts.length, before + 1);
    await open();
    assert.equal(pond.status.transport, "websocket");
  });

  test("is forgotten by close(), and so is that WebSockets were blocked", async () => {
    await blocked();
    page.fire("online");
    await clock.advance(0);
    pond.close();
    assert.ok(net.attempts.every(({letGo, isOver}) => letGo || isOver));
    pond.connect();
    await settle();
    assert.equal(net.last.to, "websocket");
  });

  test("is made at once where a WebSocket that does not open has no close event", async () => {
    net.closesUnopened = false;
    net.asked = {status: 404, message: "Nothing is here."};
    await assert.rejects(async () => {
      const joining = made().channel(CHAT).join();
      await settle();
      net.last.end(1006);
      await settle();
      assert.notEqual(pond.status.state, "connecting");
      await joining;
    }, {code: 404, message: "Nothing is here."});
  });

  test("is none after an error whose close is final", async () => {
    await joined();
    net.last.end(1009);
    await settle();
    assert.deepEqual([pond.status.state, pond.status.code], ["stopped", 1009]);
  });

  test("has 5 s if the first did not open, and 10 s else", async () => {
    made().connect();
    await settle();
    await clock.advance(9999);
    assert.equal(net.attempts.length, 1);
    await clock.advance(1);
    assert.equal(net.last.to, "sse");
    await open();
    say({action: "SYSTEM", event: "PONG", channelName: "GATEWAY"});
    await settle();
    await clock.advance(250);
    assert.equal(net.last.to, "websocket");
    await clock.advance(5000);
    assert.equal(net.last.to, "sse");
  });
});

describe("close() in a handler", () => {
  const OTHER = "/chat/2";
  let heard;

  const joinedBoth = async (options) => {
    const room = await joined({}, options);
    const other = pond.channel(OTHER);
    const joining = other.join();
    await acknowledgeOther();
    await joining;
    heard = [];
    pond.on("status", ({state}) => heard.push(state));
    return [room, other];
  };
  const acknowledgeOther = async () => {
    await settle();
    say({action: "SYSTEM", event: "ACKNOWLEDGE", channelName: OTHER, requestId: net.sent.at(-1).requestId});
    await settle();
  };
  const closeWhen = (room, wanted) => room.on("state", ({state}) => state === wanted && pond.close());

  // Nothing comes back, not even later.
  const isClosed = async (rooms) => {
    await settle();
    const {length} = net.attempts;
    assert.equal(heard.at(-1), "stopped");
    assert.equal(clock.timers.size, 0, "timers are left");
    assert.ok(!page.isListenedTo);
    await clock.advance(600_000);
    assert.equal(net.attempts.length, length);
    assert.ok(net.attempts.every(({letGo, isOver}) => letGo || isOver), "a connection is left");
    assert.equal(pond.status.state, "stopped");
    assert.deepEqual(rooms.map(({state}) => state), rooms.map(() => "left"));
  };

  for (const transport of ["websocket", "sse"]) {
    test(`is final at a loss: ${transport}`, async () => {
      const rooms = await joinedBoth({transports: [transport]});
      closeWhen(rooms[0], "joining");
      net.last.end(1006);
      await isClosed(rooms);
      assert.deepEqual(heard, ["stopped"]);
    });
  }

  test("is final when the server has gone silent", async () => {
    const rooms = await joinedBoth();
    closeWhen(rooms[0], "joining");
    net.last.isSwallowed = true;
    await clock.advance(60_000);
    net.last.isOver = true;
    await isClosed(rooms);
    assert.deepEqual(heard, ["stopped"]);
  });

  test("is final when the page is hidden by its browser", async () => {
    const rooms = await joinedBoth();
    closeWhen(rooms[0], "joining");
    page.fire("freeze");
    await isClosed(rooms);
    assert.deepEqual(heard, ["stopped"]);
  });

  for (const [place, name] of ["first", "last"].entries()) {
    test(`is final when the ${name} channel is joined again`, async () => {
      const rooms = await joinedBoth();
      net.last.end(1006);
      await clock.advance(250);
      await settle();
      rooms[place].on("state", ({state}) => state === "joined" && pond.close());
      heard.length = 0;
      const before = net.sent.length;
      await open();
      const told = [];
      for (const room of rooms) for (const event of ["joined", "rejoined", "presence"]) room.on(event, () => told.push(event));
      const join = net.sent.slice(before).find(({channelName}) => channelName === rooms[place].name);
      say({action: "SYSTEM", event: "ACKNOWLEDGE", channelName: join.channelName, requestId: join.requestId, payload: {presence: {joins: [{user: "ben", ref: "r1", presence: {}}]}}});
      await isClosed(rooms);
      assert.deepEqual(told, []);
    });
  }

  test("is final while the channels are being joined", async () => {
    const rooms = await joinedBoth();
    pond.close();
    pond.connect();
    await settle();
    closeWhen(rooms[0], "joining");
    const before = net.sent.length;
    await open();
    await isClosed(rooms);
    assert.deepEqual(heard.slice(-2), ["connecting", "stopped"]);
    assert.equal(net.sent.length, before);
  });

  test("is final in `joined`", async () => {
    const room = made().channel(CHAT);
    heard = [];
    pond.on("status", ({state}) => heard.push(state));
    room.on("joined", () => pond.close());
    room.join();
    await settle();
    await open();
    await acknowledge();
    await isClosed([room]);
  });

  test("is final when a WebSocket takes the place of a stream", async () => {
    await blocked();
    const room = pond.channel(CHAT);
    const joining = room.join();
    await settle();
    await acknowledge();
    await joining;
    heard = [];
    pond.on("status", ({state}) => heard.push(state));
    closeWhen(room, "joining");
    page.fire("online");
    await clock.advance(0);
    assert.equal(net.last.to, "websocket");
    await open();
    await isClosed([room]);
    assert.deepEqual(heard, ["stopped"]);
  });

  test("and connect() after it connect once", async () => {
    const rooms = await joinedBoth();
    const off = rooms[0].on("state", () => {
      off();
      pond.close();
      pond.connect();
    });
    net.last.end(1006);
    await settle();
    await clock.advance(1000);
    assert.equal(net.attempts.filter(({letGo, isOver}) => !letGo && !isOver).length, 1);
    await open();
    assert.equal(pond.status.state, "open");
    assert.deepEqual(rooms.map(({state}) => state), ["joining", "joining"]);
  });
});

describe("many clients", () => {
  const crowd = (count, options) => Array.from({length: count}, () => connect(URL_, {WebSocket: net.WebSocket, fetch: net.fetch, ...options}));
  const perSecond = (times) => {
    const seconds = new Map();
    for (const time of times) seconds.set(Math.floor(time / 1000), (seconds.get(Math.floor(time / 1000)) ?? 0) + 1);
    return seconds;
  };

  for (const ends of ["one after another", "all at once"]) {
    test(`that a restart tells to come over 10 s come evenly: closed ${ends}`, async () => {
      random = seeded(7);
      const clients = crowd(1000);
      for (const each of clients) each.connect();
      await settle();
      for (const attempt of net.attempts) await open(attempt);
      await clock.advance(6000);
      const first = [...net.attempts];
      first.forEach((attempt, place) => {
        say({action: "SYSTEM", event: "GOODBYE", channelName: "GATEWAY", payload: {code: 1012, reason: "", reconnect: true, afterMs: 10 * place}}, attempt);
      });
      const started = clock.now;
      const times = [];
      net.onAttempt = (attempt) => {
        times.push(clock.now - started);
        queueMicrotask(() => open(attempt));
      };
      if (ends === "all at once") for (const attempt of first) attempt.end(1006);
      else for (const [place, attempt] of first.entries()) globalThis.setTimeout(() => attempt.end(1012), 10 * place);
      await clock.advance(15_000);
      assert.equal(times.length, 1000);
      const worst = Math.max(...perSecond(times).values());
      console.log(`${ends}: at most ${worst} of 1,000 in one second`);
      assert.ok(worst <= 150, `${worst}`);
      times.forEach((time, place) => assert.ok(time >= 0, `${place}`));
      for (const each of clients) each.close();
    });
  }

  test("whose server went away without a word do not come in one moment", async () => {
    random = seeded(8);
    const clients = crowd(1000);
    for (const each of clients) each.connect();
    await settle();
    for (const attempt of net.attempts) await open(attempt);
    await clock.advance(6000);
    const started = clock.now;
    const tenths = new Map();
    net.onAttempt = () => {
      const tenth = Math.floor((clock.now - started) / 50);
      tenths.set(tenth, (tenths.get(tenth) ?? 0) + 1);
    };
    for (const attempt of [...net.attempts]) attempt.end(1006);
    await clock.advance(600);
    assert.equal([...tenths.values()].reduce((sum, each) => sum + each), 1000);
    // Ten twentieths of a second, of 100 each on average.
    assert.ok(Math.max(...tenths.values()) < 150, JSON.stringify([...tenths]));
    for (const each of clients) each.close();
  });

  test("are back within 1 s of being online", async () => {
    random = seeded(9);
    const clients = crowd(50);
    for (const each of clients) each.connect();
    await settle();
    for (let failure = 0; failure < 8; failure++) {
      net.asked = "unreachable";
      for (const attempt of net.attempts) attempt.end(1006);
      await settle();
      await clock.advance(31_000);
    }
    for (const attempt of net.attempts) attempt.end(1006);
    await settle();
    net.asked = undefined;
    const started = clock.now;
    const before = net.attempts.length;
    page.fire("online");
    await settle();
    assert.equal(net.attempts.length - before, 50);
    for (const attempt of net.attempts.slice(before)) await open(attempt);
    assert.ok(clients.every(({status}) => status.state === "open"));
    assert.ok(clock.now - started < 1000);
    for (const each of clients) each.close();
  });
});
