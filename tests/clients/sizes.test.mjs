// How much a page loads, and what it takes to load it.

import assert from "node:assert/strict";
import {readFileSync} from "node:fs";
import {test} from "node:test";
import {gzipSync} from "node:zlib";

import {buildSync, transformSync} from "esbuild";

const FOLDER = new URL("../../packages/pondsocket-asgi/src/pondsocket_asgi/browser/", import.meta.url);
const source = (name) => readFileSync(new URL(name, FOLDER), "utf8");
const gzipped = (text) => gzipSync(text, {level: 9}).length;
// As PondASGIApp serves it: lines that are only a comment are empty.
const served = (text) => text.replace(/^[ \t]*(?:\/\/.*|\/\*[^]*?\*\/[ \t]*)$/gm, (comment) => comment.replace(/[^\n]/g, ""));

const LIMITS = {"pondsocket.js": [8192, 6656], "react.js": [1024, 768]};

for (const [name, [whole, minified]] of Object.entries(LIMITS)) {
  test(`${name} is small`, () => {
    const text = served(source(name));
    assert.equal(text.split("\n").length, source(name).split("\n").length);
    const sizes = [gzipped(text), gzipped(transformSync(source(name), {minify: true, format: "esm"}).code)];
    console.log(`${name}: ${sizes[0]} bytes as served and gzipped, ${sizes[1]} minified and gzipped`);
    assert.ok(sizes[0] <= whole, `${sizes[0]} > ${whole}`);
    assert.ok(sizes[1] <= minified, `${sizes[1]} > ${minified}`);
  });

  test(`${name} depends on nothing`, () => {
    assert.doesNotMatch(source(name), /^\s*import\s|\bimport\(["'](?!\.\/)|\brequire\(/m);
    const {metafile} = buildSync({entryPoints: [new URL(name, FOLDER).pathname], bundle: true, write: false, metafile: true, format: "esm"});
    assert.equal(Object.keys(metafile.inputs).length, 1);
  });

  test(`${name} is read by the browsers of the last three years`, () => {
    // Fails if there is syntax that would have to be rewritten.
    const options = {target: ["chrome110", "firefox110", "safari16"], format: "esm"};
    const [given, lowered] = [{target: "esnext", format: "esm"}, options].map((each) => transformSync(source(name), each).code);
    assert.equal(lowered, given);
  });
}

test("the package names its files", () => {
  const {exports, files, dependencies, name} = JSON.parse(source("package.json"));
  assert.equal(name, "pondsocket");
  assert.equal(dependencies, undefined);
  for (const file of files) assert.ok(source(file));
  for (const {types, default: code} of [exports["."], exports["./react"]]) {
    assert.ok(files.includes(types.slice(2)) && files.includes(code.slice(2)));
  }
});
