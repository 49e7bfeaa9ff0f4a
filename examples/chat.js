// The chat's page: who is here, what is written, and how the connection is.

import {showFrame} from "./chat_drawer.js";
import {$, copy, linked, note, paint, read, show} from "./chat_lines.js";
import {connect} from "./pondsocket.js";

const WORDS = {websocket: "WebSocket", sse: "SSE"};
const BLOCKED = "WebSocket is blocked on this network: using Server-Sent Events";
const asked = new URLSearchParams(location.search);
const roomName = (asked.get("room") ?? "").trim() || "lobby";
const myName = (asked.get("name") ?? "").trim();
const pageFor = (changes) => `${location.pathname}?${new URLSearchParams({room: roomName, ...changes})}`;
// Not randomUUID, which pages over plain http lack, except on localhost.
const randomKey = () => crypto.getRandomValues(new Uint32Array(4)).join("-");
// Kept until the tab is closed. A browser that keeps nothing throws.
const store = (() => { try { return sessionStorage; } catch { return {}; } })();

let chosen = Object.hasOwn(WORDS, asked.get("via")) ? asked.get("via") : "websocket";
const wanted = () => store.blocked || chosen;
const transports = () => (wanted() === "sse" ? ["sse"] : ["websocket", "sse"]);
// A client with this key is the same user, after a lost connection or a reload of this window.
const params = {name: myName, key: (store.visitor ??= randomKey())};
const pond = connect("socket", {params, transports, trace: showFrame});
const room = pond.channel(`/chat/${roomName}`);

let isHere = false;
let cameAt = null;         // by the server's clock: older messages are shown as earlier
let backAt = null;         // likewise: what is older and comes now was missed
let over = "";             // why the room was left for good
let restartUntil = 0;      // until when a server that restarts may be away
let typedAt = 0;
let people = new Map();    // user id -> name
const typists = new Map(); // user id -> {name, until}

// ---- Coming and going

function showSignIn(complaint) {
  const {elements} = document.forms[0];
  [elements.name.value, elements.room.value, elements.via.value] = [myName, roomName, wanted()];
  document.body.dataset.state = "sign-in";
  $("complaint").textContent = complaint;
  elements.name.focus();
}

function reconnect() {
  if (over) location.reload();
  pond.close();
  if ($("plug").checked) pond.connect();
}

function arrive({response, recovered}) {
  const time = new Date(response?.time ?? 0);
  // If recovered, every missed message follows, else none; a server without history cannot tell.
  if (cameAt) note(recovered ? "You are back." : "You are back. Some messages may be missing.");
  cameAt ??= time;
  backAt = recovered ? time : null;
  showState();
}

function wordsOf({state, transport, code, reason}, wasHere) {
  if (state === "connecting") return `Connecting over ${WORDS[transport]}…`;
  if (state === "open" && !isHere) return "Joining the room…";
  if (state === "open") return store.blocked ? BLOCKED : `Connected over ${WORDS[transport]}`;
  if (state === "stopped") return reason || "The server ended the connection.";
  if (Date.now() < restartUntil) return "The server restarts, back in a moment.";
  if (wasHere && !isHere) return "Connection lost.";
  return reason || (code < 600 ? `The server answered ${code}.` : "The server is away.");
}

function showState() {
  const {state, transport, code, reason} = pond.status;
  if (state === "stopped" && $("plug").checked && !cameAt) return showSignIn(over || reason);
  if (state === "open" && chosen === "websocket") store.blocked = transport === "sse" ? "sse" : "";
  if (code === 1001 || code === 1012) restartUntil = Date.now() + 60000;
  const wasHere = isHere;
  isHere = room.state === "joined" && (state === "open" || state === "leaving");
  const unplugged = $("plug").checked ? "" : "You pulled the plug. What you miss comes back, in order.";
  const words = unplugged || over || wordsOf(pond.status, wasHere);
  if (wasHere && !isHere && (code || over)) note(words);
  document.body.dataset.state = isHere && state === "open" ? "here" : state;
  $("notice").classList.toggle("quiet", !cameAt || words === `Connected over ${WORDS[transport]}`);
  $("status").textContent = state === "waiting" ? `${words} Retrying` : words;
  $("transports").elements.transport.value = wanted();
  showPeople();
  tick();
}

function tick() {
  // Beside the status, so that screen readers do not read the seconds out one by one.
  const seconds = Math.max(1, Math.ceil((pond.status.until - Date.now()) / 1000));
  $("countdown").textContent = pond.status.state === "waiting" ? `in ${seconds} s` : "";
  const names = [...typists.values()].filter((typist) => isHere && Date.now() < typist.until).map(({name}) => name);
  $("typing").textContent = names.length ? `${names.join(" and ")} ${names.length > 1 ? "are" : "is"} typing` : "";
  $("position").textContent = room.position ? `${room.position.offset} in ${room.position.epoch.slice(0, 8)}` : "";
}

// User ids are digests: their ends tell people of one name apart.
const isTwin = (name) => [...people.values()].filter((other) => other === name).length > 1;
const tagOf = (user, name) => (isTwin(name) ? ` #${user.slice(-4)}` : "");

function showPeople() {
  const before = people;
  people = new Map([...(isHere ? room.presence.values() : [])].map(({user, presence}) => [user, presence.name]));
  // The first list is no news, and neither is the end of all connections when the server stops.
  const isNews = before.size && isHere && pond.status.state === "open";
  for (const [user, name] of people) if (isNews && !before.has(user) && user !== pond.id) note(`${name} is here.`);
  for (const [user, name] of before) if (isNews && !people.has(user)) note(`${name} left.`);
  const meFirst = ([a, one], [b, other]) => (b === pond.id) - (a === pond.id) || one.localeCompare(other);
  $("people").replaceChildren(...[...people].sort(meFirst).map(([user, name]) => {
    const texts = {b: name, ".tag": tagOf(user, name), ".you": user === pond.id ? " (you)" : ""};
    return paint(copy("person", texts), user, name);
  }));
  $("count").textContent = people.size || "?";
  $("people-title").textContent = people.size ? `Here now: ${people.size}` : "Here now";
}

// A user who closes the window is shown for some seconds more; a user who leaves is gone at once.
async function leave(event) {
  if (!isHere || $("outbox").firstChild || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  await Promise.race([room.leave(), new Promise((done) => setTimeout(done, 1000))]);
  location.assign(pageFor({via: chosen}));
}

// ---- Writing and hearing

// A message that is lost on its way is sent again, under its key, by which the copies are known.
async function deliver(key, text, line) {
  const problem = line.querySelector("[role=alert]");
  problem.textContent = "";
  try {
    while (room.state !== "joined") await room.once("state");
    await room.call("message", {text, key}, {timeout: 15000});
    line.remove();
  } catch ({name, code, message}) {
    if (name === "TimeoutError") problem.textContent = "No answer yet";
    else if (code !== "lost" && code !== "unsent") problem.textContent = `Not sent: ${message}`;
    else if (line.isConnected) deliver(key, text, line);
  }
}

function write(event) {
  event.preventDefault();
  const typed = $("text").value.trim();
  if (!typed) return;
  const text = typed.toWellFormed?.() ?? typed; // half an emoji is not valid on the wire
  const key = randomKey();
  const line = Object.assign(copy("pending"), {id: `sent-${key}`});
  const [again, discard] = line.querySelectorAll("button");
  again.onclick = () => deliver(key, text, line);
  discard.onclick = () => { line.remove(); $("text").focus(); };
  line.firstElementChild.append(...linked(text));
  $("outbox").append(line);
  $("text").value = "";
  typedAt = 0;
  $("scroll").scrollTop = 0;
  deliver(key, text, line);
}

function hear(said) {
  const {key, user, name, time} = said;
  if (!key) return; // the late answer of a call
  const [when, mine] = [new Date(time), user === pond.id];
  $(`sent-${key}`)?.remove();
  typists.delete(user);
  if ($(`said-${key}`)) return; // a copy
  const kind = {mine, recovered: when < backAt, tag: mine ? "" : tagOf(user, name)};
  show(when < cameAt ? $("earlier") : $("log"), said, kind);
  $("recovered").textContent = $("log").querySelectorAll(".recovered").length;
}

// ---- The beginning

document.title = `${roomName} · Pond chat`;
document.forms[0].onchange = () => (store.blocked = "");
$("room-name").textContent = roomName;
$("invite").href = $("leave").href = pageFor({});
$("leave").onclick = leave;
$("plug").onchange = reconnect;
$("retry").onclick = () => { $("plug").checked = true; reconnect(); $("text").focus(); };
$("transports").onchange = ({target}) => {
  store.blocked = "";
  chosen = target.value;
  history.replaceState(null, "", pageFor({name: myName, via: chosen}));
  reconnect();
};
$("write").onsubmit = write;
$("text").onkeydown = (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) write(event);
};
$("text").oninput = () => {
  if (Date.now() - typedAt > 2000 && room.send("typing", {}, {queue: false})) typedAt = Date.now();
};
$("newer").onclick = () => { $("scroll").scrollTop = 0; $("text").focus(); };
$("scroll").onscroll = document.onvisibilitychange = read;
window.onbeforeunload = (event) => $("outbox").firstChild && event.preventDefault();
setInterval(tick, 500);
pond.on("status", showState);
for (const event of ["joined", "rejoined"]) room.on(event, arrive);
room.on("presence", showPeople);
room.on("message", hear);
room.on("typing", ({user, name}) => tick(typists.set(user, {name, until: Date.now() + 4000})));
room.on("state", ({state, error, reason}) => {
  const isPassing = state === "refused" && ([408, 429].includes(error.code) || error.code >= 500);
  if (isPassing) setTimeout(() => room.join(), error.retryAfterMs ?? 1000);
  else if (state === "refused") over = error.message;
  if (state === "evicted") over = `You were taken out of the room: ${reason || "no reason was given"}.`;
  if (over) pond.close();
});
if (myName) room.join(); // its error is a state, too
else showSignIn(asked.has("name") ? "Please say what your name is." : "");
$("text").focus();
