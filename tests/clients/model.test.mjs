// Random schedules of loss, delay and restart, against a model: no event is heard twice, none out of
// order, none is missing unless that was told; every call ends; every event is handled at most once.
//
// `POND_SCHEDULES=100000` for more, `POND_SEED=17` for one.

import assert from "node:assert/strict";
import {test} from "node:test";

import {connect} from "../../packages/pondsocket-asgi/src/pondsocket_asgi/browser/pondsocket.js";
import {Clock, Net, Page, settle} from "./fakes.mjs";
import {ModelServer, seeded} from "./model_server.mjs";

const SCHEDULES = Number(process.env.POND_SCHEDULES ?? 10_000);
const STEPS = 30;
const NAMES = ["/room/1", "/room/2"];

/** What one channel has been heard to say, and what was told about it. */
class Listener {
  heard = 0;
  last = 0;
  mayJump = true;
  gaps = 0;
  recovered = 0;

  constructor(room) {
    this.room = room;
    this.people = new Map();
    room.on("said", ({n}) => {
      const {last} = this;
      assert.ok(n > last, `${room.name}: ${n} after ${last}`);
      assert.ok(n === last + 1 || this.mayJump, `${room.name}: ${n} after ${last}, and no gap was told`);
      this.heard++;
      this.last = n;
      this.mayJump = false;
    });
    room.on("joined", () => {
      // A new member, who is sent the latest ones again.
      this.last = 0;
      this.jump();
    });
    room.on("rejoined", ({recovered}) => {
      if (recovered) this.recovered++;
      else this.jump();
    });
    room.on("presence", (people, {joins, updates, leaves}) => {
      for (const {ref} of joins) assert.ok(!this.people.has(ref), `${ref} joined twice`);
      for (const {ref} of [...updates, ...leaves]) assert.ok(this.people.has(ref), `${ref} was not there`);
      this.people = people;
    });
    room.on("state", ({state}) => {
      if (state === "left" && !room.presence.size) this.people = new Map();
    });
  }

  jump() {
    this.mayJump = true;
    this.gaps++;
  }
}

class Schedule {
  clock = new Clock();
  net = new Net();
  page = new Page();
  listeners = new Map();
  /** By the id of the event: what became of it. */
  events = new Map();
  wanted = new Set();
  ids = 0;

  constructor(seed) {
    this.random = seeded(seed);
    this.server = new ModelServer(this.net, this.random);
    const isStream = this.random() < 0.5;
    this.pond = connect("https://pond.test/socket", {
      WebSocket: this.net.WebSocket,
      fetch: this.net.fetch,
      transports: isStream ? ["sse"] : ["websocket", "sse"],
    });
    for (const name of NAMES) this.listeners.set(name, new Listener(this.pond.channel(name)));
  }

  pick(list) {
    return list[Math.floor(this.random() * list.length)];
  }

  async step() {
    const {server} = this;
    const name = this.pick(NAMES);
    const attempt = this.pick(server.live);
    const dice = this.random();
    if (dice < 0.3) server.say(name);
    else if (dice < 0.38) server.move(name);
    else if (dice < 0.5) this.act(name);
    else if (dice < 0.58) attempt && server.cut(attempt);
    else if (dice < 0.61) attempt && server.swallow(attempt);
    else if (dice < 0.62) server.restart(Math.round(this.random() * 4000));
    else if (dice < 0.63) server.beginAnew(name);
    else if (dice < 0.68) server.isDown = !server.isDown;
    else if (dice < 0.7) this.page.fire(this.pick(["online", "visible", "hidden", "pagehide", "pageshow", "freeze", "resume"]));
    else if (dice < 0.72) await this.clock.sleep(Math.round(this.random() * 120_000));
    else await this.clock.advance(Math.round(this.pick([1, 20, 300, 1000, 5000, 30_000]) * this.random()));
    await settle();
    server.turn();
    await settle();
  }

  act(name) {
    const room = this.pond.channel(name);
    const dice = this.random();
    if (!this.wanted.has(name)) {
      this.wanted.add(name);
      room.join();
    } else if (dice < 0.15) {
      this.wanted.delete(name);
      room.leave();
    } else {
      const id = ++this.ids;
      if (dice < 0.55) {
        this.events.set(id, room.send("say", {id}) ? "sent" : "unsent");
      } else {
        this.events.set(id, "open");
        room.call("say", {id}, {timeout: this.random() < 0.3 ? 2000 : undefined}).then(
          (answer) => {
            assert.equal(answer.id, id, "the answer of another call");
            this.events.set(id, "handled");
          },
          (error) => this.events.set(id, error.code === "unsent" ? "unsent" : "unknown"),
        );
      }
    }
  }

  /** Let the network be good, until everything is quiet. */
  async calm() {
    const {server} = this;
    server.isCalm = true;
    server.isDown = false;
    this.page.fire("visible");
    for (let turn = 0; turn < 120; turn++) {
      server.turn();
      await settle();
      const isQuiet = server.live.every(({outbox, inbox}) => !outbox.length && !inbox.length);
      if (turn > 2 && isQuiet && [...this.wanted].every((name) => this.pond.channel(name).state === "joined")) {
        // It may be joined to a connection that swallows: only a silence that is too long shows that.
        if (server.live.some(({isSwallowed, letGo}) => !isSwallowed && !letGo)) break;
      }
      await this.clock.advance(turn < 5 ? 500 : 2000);
    }
    for (const name of this.wanted) server.say(name, true);
    for (let turn = 0; turn < 3; turn++) {
      server.turn();
      await settle();
    }
  }

  check() {
    for (const name of this.wanted) {
      const {last, people} = this.listeners.get(name);
      const channel = this.server.channel(name);
      assert.equal(this.pond.channel(name).state, "joined", name);
      assert.equal(last, channel.said, `${name}: the last one`);
      assert.deepEqual(new Map([...people].sort()), new Map([...channel.people].sort()), `${name}: the people`);
      assert.deepEqual(this.pond.channel(name).position, {epoch: channel.epoch, offset: channel.top}, `${name}: the position`);
    }
    const handled = new Set(this.server.handled);
    assert.equal(handled.size, this.server.handled.length, "an event was handled twice");
    for (const [id, fate] of this.events) {
      if (fate === "unsent") assert.ok(!handled.has(id), `${id} was handled, and is said to be unsent`);
      if (fate === "handled") assert.ok(handled.has(id), `${id} was not handled`);
    }
  }

  async run() {
    this.clock.install(this.random);
    this.page.install();
    try {
      for (let step = 0; step < STEPS; step++) await this.step();
      await this.calm();
      await this.clock.advance(11_000);
      this.check();
      for (const [id, fate] of this.events) assert.notEqual(fate, "open", `the call ${id} never ends`);
      this.pond.close();
      await settle();
      assert.equal(this.clock.timers.size, 0, "timers are left");
      assert.ok(!this.page.isListenedTo, "listeners of the page are left");
    } finally {
      this.clock.uninstall();
      this.page.uninstall();
    }
  }
}

test(`${SCHEDULES} random schedules`, async () => {
  const tally = {heard: 0, gaps: 0, recovered: 0, attempts: 0, handled: 0, unsent: 0, unknown: 0};
  const faults = [];
  const report = globalThis.reportError;
  let current = 0;
  // What a handler throws goes there.
  globalThis.reportError = (error) => faults.push(`${current}: ${error.message}`);
  const only = process.env.POND_SEED;
  for (let seed = only ? Number(only) : 1; seed <= (only ? Number(only) : SCHEDULES) && !faults.length; seed++) {
    current = seed;
    const schedule = new Schedule(seed);
    await schedule.run().catch((error) => {
      throw new Error(`POND_SEED=${seed}: ${error.stack}`);
    });
    for (const {heard, gaps, recovered} of schedule.listeners.values()) {
      tally.heard += heard;
      tally.gaps += gaps;
      tally.recovered += recovered;
    }
    tally.attempts += schedule.net.attempts.length;
    tally.handled += schedule.server.handled.length;
    for (const fate of schedule.events.values()) if (fate in tally && fate !== "handled") tally[fate]++;
  }
  globalThis.reportError = report;
  assert.deepEqual(faults, []);
  console.log(JSON.stringify(tally));
  // Or it showed nothing.
  if (!only) for (const [name, count] of Object.entries(tally)) assert.ok(count > SCHEDULES / 50, `${name}: ${count}`);
});
