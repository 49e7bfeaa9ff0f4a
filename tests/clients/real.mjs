// The client against a real server: `node real.mjs URL TRANSPORT [own]`, with Node's own WebSocket or `ws`. The server is tests/interop/server.py.

import assert from "node:assert/strict";

import ws from "ws";

import {connect, PondError} from "../../packages/pondsocket-asgi/src/pondsocket_asgi/browser/pondsocket.js";

const [url, transport, own] = process.argv.slice(2);
const WebSocket = own ? globalThis.WebSocket : ws;
const made = (params) => connect(url, {WebSocket, transports: [transport], params});
const until = async (condition, what) => {
  for (const ends = Date.now() + 15_000; !condition(); ) {
    assert.ok(Date.now() < ends, what);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};

// A refusal says why, over both transports.
const stranger = made({token: "wrong"});
await assert.rejects(stranger.channel("/room/1").join(), {code: 401, message: "Invalid token"});
assert.deepEqual([stranger.status.state, stranger.status.code], ["stopped", 401]);
const nowhere = connect(url.replace("/socket", "/nothing"), {WebSocket, transports: [transport]});
await assert.rejects(nowhere.channel("/room/1").join(), {code: 404});

const ann = made({token: "secret"});
const ben = made({token: "secret"});
const states = [];
ann.on("status", ({state}) => states.push(state));
const [room, other] = [ann, ben].map((pond, place) => pond.channel("/room/real", {params: {name: ["Ann", "Ben"][place]}}));
await room.join();
const someone = room.once("presence", {timeout: 5000});
await other.join();
await someone;
await until(() => room.presence.size === 2, "the presence");
assert.deepEqual([...room.presence.values()].map(({presence}) => presence.name).sort(), ["Ann", "Ben"]);

// Messages in order, answers to their own calls, confirmations, errors.
const heard = [];
other.on("said", ({n, by}) => heard.push([n, by]));
for (let n = 0; n < 20; n++) assert.equal(room.send("say", {n}), true);
assert.deepEqual(await room.call("say", {n: 20}), {});
await until(() => heard.length === 21, "the messages");
assert.deepEqual(heard, Array.from({length: 21}, (_, n) => [n, "Ann"]));
const answers = await Promise.all([1, 2, 3].map((n) => room.call("where", {n})));
assert.deepEqual(answers.map(({n, name}) => [n, name]), [[1, "Ann"], [2, "Ann"], [3, "Ann"]]);
await assert.rejects(room.call("nothing"), (error) => error instanceof PondError && error.code === 404);
await room.call("status", {status: "away"});
await until(() => [...other.presence.values()].some(({presence}) => presence.status === "away"), "the update");

// Refused by one channel, and in no other way disturbed.
const closed = ann.channel("/room/closed", {params: {name: "mallory"}});
await assert.rejects(closed.join(), {code: 403, message: "Not in this room"});
assert.equal(closed.state, "refused");

// The endpoint itself.
assert.equal((await ann.call("add", {a: 1, b: 2})).result ?? (await ann.call("add", {a: 1, b: 2})), 3);
const pushed = ann.once("said", {timeout: 5000});
await ann.call("announce", {text: "hi"});
assert.deepEqual(await pushed, {text: "hi"});

// A restart is told before it comes, and survived.
const back = [room.once("rejoined", {timeout: 15_000}), other.once("rejoined", {timeout: 15_000})];
states.length = 0;
await room.call("restart");
assert.equal(typeof (await back[0]).recovered, "boolean");
await back[1];
assert.deepEqual(states, ["leaving", "waiting", "connecting", "open"]);
await room.call("say", {n: 21});
await until(() => heard.at(-1)[0] === 21, "the message after the restart");

await other.leave();
await until(() => room.presence.size === 1, "the leave");
for (const pond of [ann, ben]) pond.close();
console.log("done");
