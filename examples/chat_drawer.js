// The drawer: every frame as it goes out or comes in, and how long answers take.

import {$, copy} from "./chat_lines.js";

const asked = new Map(); // request id -> when it was sent

export function showFrame(direction, message) {
  const {action, event = "", requestId, offset} = message;
  const sentAt = asked.get(requestId);
  if (message.confirm || action === "JOIN_CHANNEL") asked.set(requestId, performance.now());
  else if (asked.delete(requestId)) $("latency").textContent = `${(performance.now() - sentAt).toFixed(1)} ms`;
  const name = `${action} ${event} ${offset === undefined ? "" : `#${offset}`}`;
  // The id of a connection is its key, which is for no one who looks over a shoulder.
  const pre = JSON.stringify(message, (key, value) => (key === "connectionId" ? "(secret)" : value), 2);
  const time = new Date().toLocaleTimeString([], {hour12: false});
  $("frames").append(Object.assign(copy("frame", {span: name, time, pre}), {className: direction}));
  if ($("frames").childElementCount > 200) $("frames").firstElementChild.remove();
}
