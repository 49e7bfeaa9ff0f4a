// What an application's types say, and what they refuse. `tsc` checks it; nothing runs it.

import * as React from "react";
import WebSocket from "ws";
import {connect, PondError, type AnyApi, type ChannelOptions, type Person, type Pond, type Room, type Status} from "pondsocket";
import {hooks} from "pondsocket/react";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_: Same<A, B>) => {};

interface Chat {
  channels: {
    "/chat/:room": {
      params: {nick: string};
      response: {topic: string};
      calls: {say: [payload: {text: string}, answer: {id: number}]; typing: [payload: {}, answer: {}]};
      events: {said: {id: number; text: string}};
      presence: {nick: string};
    };
    "/game/:id/player/:name": {events: {moved: {x: number}}};
    "/lobby": {events: {opened: {}}};
  };
  calls: {now: [payload: {zone?: string}, answer: {time: string}]};
  events: {notice: {text: string}};
}

// Without types everything goes, and nothing is unknown.
export const untyped = async () => {
  const pond = connect("/ws/socket", {
    params: () => ({version: 3, tag: null}),
    token: async ({reason}) => (reason === "expired" ? "new" : null),
    transports: ["sse"],
    WebSocket,
    trace: (direction, {action}) => console.log(direction, action),
  });
  same<typeof pond, Pond>(true);
  const room = pond.channel("/chat/42", {params: {nick: "Ann"}});
  const {response} = await room.join({timeout: 5000, signal: AbortSignal.timeout(100)});
  console.log(response.topic);
  const {id} = await room.call("say", {text: "hi"}, {timeout: 5000});
  console.log(id);
  const isSent: boolean = room.send("typing", {}, {queue: false});
  const off: () => void = room.on("said", (said, {offset}) => console.log(said.text, offset, isSent));
  off();
  room.on("presence", (people, {joins, updates, leaves}) => {
    for (const {user, ref} of people.values()) console.log(user, ref, joins, updates, leaves);
  });
  room.on("rejoined", ({recovered}) => same<typeof recovered, boolean>(true));
  room.on("state", ({state, error}) => {
    if (state === "refused") same<typeof error, PondError | undefined>(true);
  });
  pond.on("status", ({state, transport, until, reason}) => {
    same<typeof state, Status["state"]>(true);
    console.log(transport, until, reason);
  });
  pond.on("notice", (notice) => console.log(notice.text));
  for await (const {event, payload} of room.events({signal: AbortSignal.timeout(10)})) console.log(event, payload);
  await room.once("said", {timeout: 100});
  await pond.call("now");
  await room.leave();
  const stop: () => void = room.subscribe(({state, presence}) => console.log(state, presence.size));
  stop();
  pond.subscribe(({state}) => console.log(state));
  same<typeof pond.id, string | undefined>(true);
  pond.close();
  pond.connect();

  // @ts-expect-error: there is no such state
  if (room.state === "gone") return;
  // @ts-expect-error: a queue is a boolean
  room.send("typing", {}, {queue: 3});
  // @ts-expect-error: a payload is an object
  room.send("typing", "text");
  // @ts-expect-error: of the two there is one order
  connect("/ws", {transports: ["sse", "websocket"]});
  // @ts-expect-error: a token is a string
  connect("/ws", {token: 3});
  // @ts-expect-error: params are no lists
  connect("/ws", {params: {list: [1]}});
  // @ts-expect-error: it is read only
  room.state = "left";
  // @ts-expect-error: what is here is changed by the server alone
  room.presence.set("r", {user: "a", ref: "r", presence: {}});
};

export const typed = async () => {
  const pond = connect<Chat>("/ws/socket");
  const room = pond.channel(`/chat/${42}`, {params: {nick: "Ann"}});
  same<typeof room, Room<Chat["channels"]["/chat/:room"]>>(true);
  const {response} = await room.join();
  same<typeof response, {topic: string}>(true);
  const answer = await room.call("say", {text: "hi"});
  same<typeof answer, {id: number}>(true);
  room.send("typing");
  room.on("said", (said, {offset}) => {
    same<typeof said, {id: number; text: string}>(true);
    same<typeof offset, number | undefined>(true);
  });
  room.on("presence", (people, {joins}) => {
    same<typeof people, ReadonlyMap<string, Person<{nick: string}>>>(true);
    same<typeof joins, Person<{nick: string}>[]>(true);
  });
  const moved = await pond.channel("/game/1/player/ann").once("moved");
  same<typeof moved, {x: number}>(true);
  pond.channel("/lobby").on("opened", () => {});
  const {time} = await pond.call("now");
  same<typeof time, string>(true);
  pond.on("notice", ({text}) => same<typeof text, string>(true));

  // @ts-expect-error: no channel has such a name
  pond.channel("/rooms/1");
  // @ts-expect-error: the nick is missing
  pond.channel("/chat/1", {params: {name: "Ann"}});
  // @ts-expect-error: the nick is missing here, too
  pond.channel("/chat/1", {params: () => ({name: "Ann"})});
  // @ts-expect-error: there is no such event to send
  room.send("shout", {text: "hi"});
  // @ts-expect-error: the text is missing
  room.call("say", {});
  // @ts-expect-error: the payload is missing
  room.call("say");
  // @ts-expect-error: there is no such event to hear
  room.on("shouted", () => {});
  // @ts-expect-error: what was said has no author
  room.on("said", ({author}) => author);
  // @ts-expect-error: an answer has no text
  answer.text;
  // @ts-expect-error: that is an event of a channel
  pond.on("said", () => {});
};

export const faults = (error: unknown) => {
  if (error instanceof PondError) same<typeof error.code, string | number>(true);
  // @ts-expect-error: an error has a code
  new PondError({message: "?"});
};

export const Component = (pond: Pond<Chat>) => {
  const {useChannel, useEvent, usePresence, useStatus} = hooks(React);
  const {room, state} = useChannel(pond, "/chat/1", {params: {nick: "Ann"}});
  same<typeof state, Room["state"]>(true);
  const people = usePresence(room);
  same<typeof people, ReadonlyMap<string, Person<{nick: string}>>>(true);
  useEvent(room, "said", (said, {offset}) => {
    same<typeof said, {id: number; text: string}>(true);
    same<typeof offset, number | undefined>(true);
  });
  useEvent(room, "rejoined", ({recovered}) => same<typeof recovered, boolean>(true));
  useEvent(room, "presence", (now, {joins}) => {
    same<typeof now, ReadonlyMap<string, Person<{nick: string}>>>(true);
    same<typeof joins, Person<{nick: string}>[]>(true);
  });
  useEvent(pond, "notice", (notice) => same<typeof notice, {text: string}>(true));
  useEvent(pond, "status", (status) => same<typeof status, Status>(true));
  useChannel(pond, `/chat/${42}`, {params: () => ({nick: "Ann"})});
  useChannel(pond, "/lobby", {params: {anything: 1}});
  same<ReturnType<typeof useStatus>, Status>(true);
  // @ts-expect-error: no channel has such a name
  useChannel(pond, "/rooms/1");
  // @ts-expect-error: the nick is missing
  useChannel(pond, "/chat/1", {params: {name: "Ann"}});
  // @ts-expect-error: the nick is missing here, too
  useChannel(pond, "/chat/1", {params: () => ({name: "Ann"})});
  // @ts-expect-error: a nick is a string
  useChannel(pond, "/chat/1", {params: {nick: 3}});
  // @ts-expect-error: there is no such event
  useEvent(room, "shouted", () => {});
  // @ts-expect-error: what was said has no author
  useEvent(room, "said", ({author}) => author);
  // @ts-expect-error: a notice has no author
  useEvent(pond, "notice", ({author}) => author);
  // @ts-expect-error: that is an event of a channel
  useEvent(pond, "said", () => {});
};

// Without types everything goes here, too.
export const Untyped = (pond: Pond, options: ChannelOptions<AnyApi, string>) => {
  const {useChannel, useEvent, usePresence} = hooks(React);
  const {room} = useChannel(pond, "/chat/1", {params: {nick: "Ann"}});
  same<typeof room, Room>(true);
  useChannel(pond, "/chat/2", options);
  useEvent(room, "said", ({text}, {offset}) => console.log(text, offset));
  useEvent(room, "presence", (people, {leaves}) => console.log(people.size, leaves[0]?.presence.nick));
  useEvent(pond, "notice", ({text}) => console.log(text));
  for (const {presence} of usePresence(room).values()) console.log(presence.nick);
};
