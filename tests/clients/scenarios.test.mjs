// The shared scenarios, over both transports.

import assert from "node:assert/strict";
import {readdirSync, readFileSync} from "node:fs";
import {describe, test} from "node:test";

import {run} from "./runner.mjs";

const FOLDER = new URL("scenarios/", import.meta.url);
const files = readdirSync(FOLDER).filter((name) => name.endsWith(".json"));

let scenarios = 0;
for (const file of files) {
  const {rule, why, scenarios: all} = JSON.parse(readFileSync(new URL(file, FOLDER), "utf8"));
  scenarios += all.length;
  describe(rule, () => {
    test("is a rule with two scenarios, one of them with a loss", () => {
      assert.equal(`${rule}.json`, file);
      assert.ok(why.endsWith("."));
      assert.ok(all.length >= 2);
      assert.ok(all.some(({loss}) => loss), "none with a loss");
      assert.equal(new Set(all.map(({name}) => name)).size, all.length, "two of one name");
    });
    for (const scenario of all) {
      if (!(scenario.clients ?? ["js"]).includes("js")) continue;
      for (const over of scenario.over ?? ["websocket", "sse"]) {
        test(`${scenario.name} (${over})`, () => run(scenario, over));
      }
    }
  });
}

test("there are enough of them", () => assert.ok(scenarios >= 80, `${scenarios}`));
