// What was said, as it is shown: bubbles, avatars, links, day separators, and what is unread.

export const $ = (id) => document.getElementById(id);

// Copy one of the page's templates, with these texts in it. All that users wrote is shown by this
// function and `linked`: as text, never as HTML.
export function copy(template, texts = {}) {
  const element = $(template).content.firstElementChild.cloneNode(true);
  for (const [selector, text] of Object.entries(texts)) element.querySelector(selector).textContent = text;
  return element;
}

// Give an element the avatar of a user: initials on a colour.
export function paint(element, user, name) {
  element.style.setProperty("--hue", [...user].reduce((hue, unit) => (hue * 7 + unit.charCodeAt()) % 360, 0));
  element.dataset.face = name.split(" ", 2).map((word) => [...word][0]).join("").toUpperCase();
  return element;
}

// Only http and https; without invisible characters, and without a name before the host, by which an
// address can look like another one. What ends a sentence is no part of it.
const ADDRESS = /(https?:\/\/[^\s<>"\p{C}]*[^\s<>"\p{C}.,:;!?')\]}])/u;

// Return the text as nodes, its addresses as links.
export function linked(text) {
  const isHonest = (address) => URL.canParse(address) && !new URL(address).username;
  const link = (href) => Object.assign(copy("link"), {href, textContent: href});
  // Every other part is an address.
  return text.split(ADDRESS).map((part, at) => (at % 2 && isHonest(part) ? link(part) : part));
}

function dayOf(when) {
  const [today, day] = [new Date(), when].map((date) => new Date(date).setHours(0, 0, 0, 0));
  const written = when.toLocaleDateString([], {dateStyle: "full"});
  return ["Today", "Yesterday"][Math.round((today - day) / 86400000)] ?? written;
}

const scroll = $("scroll");
const mark = copy("unread");
let unread = 0;
let last = {};   // the newest message, to group those of one author and to separate days

// The box is laid out from its end, which is 0: a reader who is there stays there.
const isAtEnd = () => scroll.scrollTop > -48;

function append(list, line, follow = isAtEnd()) {
  list.append(line);
  while (list.childElementCount > 500) list.firstElementChild.remove();
  if (follow) scroll.scrollTop = 0;
  $("newer").hidden = follow;
}

export function note(words) {
  append($("log"), copy("note", {span: words}));
  last = {day: last.day};
}

// Show how much is unread. What is in view has been read.
export function read() {
  if (isAtEnd()) $("newer").hidden = true;
  if (isAtEnd() && !document.hidden) unread = 0;
  $("newer").textContent = `New messages${unread ? `: ${unread}` : ""} ↓`;
  document.title = document.title.replace(/^(\(\d+\) )?/, unread ? `(${unread}) ` : "");
}

// Show a message; `tag` tells its author from another one of this name.
export function show(list, {key, user, name, text, time}, {mine, recovered, tag}) {
  const [when, before] = [new Date(time), last];
  last = {user, list, day: dayOf(when), when};
  if (list === $("log") && !mine && (document.hidden || !isAtEnd()) && !unread++) append(list, mark);
  if (before.day !== last.day) append(list, copy("day", {span: last.day}));
  const clock = when.toLocaleTimeString([], {timeStyle: "short"});
  const line = copy("said", {b: mine ? "You" : name, small: tag, time: clock});
  const isSoon = when - before.when < 180000 && before.day === last.day;
  const flags = {mine, recovered, same: isSoon && before.user === user && before.list === list};
  for (const flag of Object.keys(flags)) line.classList.toggle(flag, flags[flag]);
  line.lastElementChild.append(...linked(text));
  Object.assign(line.querySelector("time"), {dateTime: time, title: when.toLocaleString()});
  append(list, Object.assign(paint(line, user, name), {id: `said-${key}`}), mine || isAtEnd());
  read();
}
