// The hooks, in React itself, with and without StrictMode.

import assert from "node:assert/strict";
import {afterEach, beforeEach, test} from "node:test";

import * as React from "react";
import TestRenderer, {act} from "react-test-renderer";

import {connect} from "../../packages/pondsocket-asgi/src/pondsocket_asgi/browser/pondsocket.js";
import {hooks} from "../../packages/pondsocket-asgi/src/pondsocket_asgi/browser/react.js";
import {Clock, Net, Page, settle} from "./fakes.mjs";

const {createElement, StrictMode} = React;
const {useChannel, useEvent, usePresence, useStatus} = hooks(React);
const CHAT = "/chat/1";

let clock, net, page, pond, tree, heard, renders;

const say = (message) => net.last.message({requestId: "s", payload: {}, channelName: CHAT, ...message});
const inAct = async (run) => {
  await act(run);
  // A leave takes effect a task later.
  await act(async () => {
    await settle();
    await clock.advance(0);
  });
};

// It says with every use that it is deprecated; it needs no browser.
const {error} = console;
console.error = (text, ...more) => String(text).includes("deprecated") || error(text, ...more);

const Chat = ({name = CHAT, mark = ""}) => {
  const {room, state} = useChannel(pond, name, {params: {nick: "Ann"}});
  const people = usePresence(room);
  const {state: connection} = useStatus(pond);
  useEvent(room, "said", ({n}) => heard.push(`${mark}${n}`));
  renders++;
  return `${connection} ${state} ${[...people.values()].map(({user}) => user)}`;
};

const show = (element) => inAct(async () => {
  if (tree) tree.update(element);
  else tree = TestRenderer.create(element);
});

const open = () => inAct(async () => {
  net.last.open();
  say({action: "CONNECT", event: "CONNECTION", channelName: "GATEWAY", payload: {id: "ann", connectionId: net.last.id}});
});
const acknowledge = () => inAct(async () => say({action: "SYSTEM", event: "ACKNOWLEDGE", requestId: net.sent.at(-1).requestId, payload: {presence: {joins: [{user: "ben", ref: "r1", presence: {}}], updates: [], leaves: []}}}));

beforeEach(() => {
  globalThis.IS_REACT_ACT_ENVIRONMENT = true;
  [clock, net, page, tree, heard, renders] = [new Clock(), new Net(), new Page(), undefined, [], 0];
  clock.install(() => 0.5);
  pond = connect("https://pond.test/socket", {WebSocket: net.WebSocket, fetch: net.fetch});
});

afterEach(async () => {
  await inAct(async () => tree?.unmount());
  pond.close();
  await settle();
  clock.uninstall();
});

for (const Mode of [StrictMode, React.Fragment]) {
  const name = Mode === StrictMode ? "in StrictMode" : "without StrictMode";

  test(`a component makes one connection and one join, ${name}`, async () => {
    await show(createElement(Mode, null, createElement(Chat)));
    await open();
    await acknowledge();
    assert.equal(tree.toJSON(), "open joined ben");
    assert.equal(net.attempts.length, 1);
    assert.deepEqual(net.sent.map(({action}) => action), ["JOIN_CHANNEL"]);
    await inAct(async () => say({action: "BROADCAST", event: "said", payload: {n: 1}}));
    assert.deepEqual(heard, ["1"]);
  });

  test(`two components of one channel join once, and the last leaves, ${name}`, async () => {
    const both = (...keys) => createElement(Mode, null, keys.map((key) => createElement(Chat, {key, mark: key})));
    await show(both("a", "b"));
    await open();
    await acknowledge();
    await inAct(async () => say({action: "BROADCAST", event: "said", payload: {n: 1}}));
    assert.deepEqual(heard, ["a1", "b1"]);
    await show(both("a"));
    assert.deepEqual(net.sent.map(({action}) => action), ["JOIN_CHANNEL"]);
    await show(both());
    assert.deepEqual(net.sent.map(({action}) => action), ["JOIN_CHANNEL", "LEAVE_CHANNEL"]);
  });
}

test("another name leaves one channel and joins the other", async () => {
  await show(createElement(Chat));
  await open();
  await acknowledge();
  await show(createElement(Chat, {name: "/chat/2"}));
  assert.deepEqual(net.sent.map(({action, channelName}) => `${action} ${channelName}`).sort(), ["JOIN_CHANNEL /chat/1", "JOIN_CHANNEL /chat/2", "LEAVE_CHANNEL /chat/1"]);
});

test("the latest handler is called, and a message renders nothing", async () => {
  await show(createElement(Chat, {mark: "a"}));
  await open();
  await acknowledge();
  await show(createElement(Chat, {mark: "b"}));
  const before = renders;
  await inAct(async () => say({action: "BROADCAST", event: "said", payload: {n: 1}}));
  assert.deepEqual(heard, ["b1"]);
  assert.equal(renders, before);
});

test("a loss and a refusal are shown", async () => {
  await show(createElement(Chat));
  await open();
  await acknowledge();
  await inAct(async () => net.last.end(1006));
  assert.equal(tree.toJSON(), "waiting joining ben");
  await inAct(async () => clock.advance(250));
  await open();
  await inAct(async () => say({action: "SYSTEM", event: "UNAUTHORIZED", requestId: net.sent.at(-1).requestId, payload: {code: 403, message: "no"}}));
  assert.equal(tree.toJSON(), "open refused ");
});
