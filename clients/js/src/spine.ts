/**
 * `Socket` and `Subscription` with the interface of `spine-high-templar`: change the import, and
 * pages stay as they are.
 *
 * Differences: the client detects a dead connection, reconnects after `reconnectInterval` plus a
 * random delay (jitter), and obeys close codes. On a server it opens no socket.
 *
 * @packageDocumentation
 */

import { Connection } from "./connection.js";
import { isPage } from "./environment.js";
import { guard } from "./guard.js";
import type { WebSocketClass, WebSocketLike } from "./options.js";
import { amount } from "./validate.js";
import { type GatewayMessage, type Room, roomKey } from "./wire.js";

export type { Json, Room } from "./wire.js";
export type { WebSocketClass, WebSocketLike };

/** The options of a {@link Socket}. */
export interface SocketOptions {
  /** Where the gateway listens, `wss://host/ws/`. */
  url: string;
  /** Sent as `?token=`. */
  token?: string;
  /**
   * Milliseconds between two pings; 0 or `Infinity` for none.
   *
   * @defaultValue 30,000
   */
  pingInterval?: number;
  /**
   * The least number of milliseconds before coming back.
   *
   * @defaultValue 2,000
   */
  reconnectInterval?: number;
  /** The class of sockets, where there is none globally, as in Node 20. */
  WebSocket?: WebSocketClass;
}

/** A message to the gateway. */
export interface SocketMessage {
  type: string;
  data?: unknown;
  room?: Room;
  requestId?: string;
}

/** What {@link Socket.subscribe} takes. */
export interface SubscribeProps {
  /** The room to hear. */
  room: Room;
  /** Called with whole messages: `{ type: "publish", data, requestId }`. */
  // biome-ignore lint/suspicious/noExplicitAny: pages read `data` as whatever they published
  onPublish?: (message: any) => void;
  /** Called when the socket is open again after a loss: what came meanwhile was missed. */
  onReconnect?: () => void;
}

/** Called with the message for `message`, with nothing for `open` and `close`. */
// biome-ignore lint/suspicious/noExplicitAny: pages read messages as whatever they published
export type Listener = (message: any) => void;

interface Waiting {
  message: SocketMessage;
  text: string;
  resolve: () => void;
  reject: (error: Error) => void;
}

/** Messages that wait for the socket to open; beyond it the oldest is dropped. */
const QUEUE_MAX = 1_000;

/**
 * Names that one room may have on a connection: the gateway's `limits.names_per_room`. Further
 * subscriptions share them.
 */
const NAMES_MAX = 32;

/**
 * A socket that is always wanted. Its events: `open`, `close`, and `message` with every message of
 * the gateway.
 */
export class Socket {
  /** The subscriptions that are asked for at every connect. */
  subscriptions: Subscription[] = [];
  /** Milliseconds between two pings. */
  readonly pingInterval: number;
  /** The least number of milliseconds before coming back. */
  readonly reconnectInterval: number;

  readonly #connection: Connection;
  readonly #listeners = new Map<string, Set<Listener>>();
  /** The rooms as text, to find equal ones. */
  readonly #keys = new WeakMap<Subscription, string>();
  #waiting: Waiting[] = [];

  constructor(props: SocketOptions) {
    this.pingInterval = props.pingInterval ?? 30_000;
    this.reconnectInterval = amount("reconnectInterval", props.reconnectInterval ?? 2_000);
    const { pingInterval, reconnectInterval } = this;
    const owner = {
      opened: () => this.#opened(),
      received: (message: GatewayMessage) => this.#emit("message", message),
      lost: () => this.#emit("close"),
      changed: () => {},
      failed: (error: Error) => console.error("high-templar:", error),
    };
    this.#connection = new Connection(owner, {
      url: props.url,
      token: props.token,
      WebSocket: props.WebSocket,
      legacy: true,
      // Whoever is refused asks again: the page may have signed in meanwhile.
      authenticate: () => true,
      pingInterval,
      minWait: reconnectInterval,
      backoff: { base: reconnectInterval / 2 },
    });
    if (isPage() || props.WebSocket) this.#connection.connect();
  }

  /** The WebSocket of this moment, `null` while there is none. */
  get instance(): WebSocketLike | null {
    return this.#connection.socket;
  }

  /** Messages that are sent when the socket opens. */
  get pendingSendMessages(): SocketMessage[] {
    const asked = this.subscriptions.filter(({ messageCached }) => messageCached).map(asMessage);
    return [...asked, ...this.#waiting.map(({ message }) => message)];
  }

  /** Calls a function at every `open`, `close` or `message`. */
  on(type: "open" | "close" | "message", listener: Listener): void {
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(listener));
  }

  /** Calls it no more. */
  off(type: "open" | "close" | "message", listener: Listener): void {
    this.#listeners.get(type)?.delete(listener);
  }

  /**
   * Sends now or when the socket is open; the promise resolves then. It rejects if the message is
   * dropped from a full queue, or if JSON cannot express it.
   */
  send({ type, data, room, requestId }: SocketMessage): Promise<void> {
    const sent = new Promise<void>((resolve, reject) => {
      const message = { type, data, room, requestId };
      const text = JSON.stringify(message);
      if (this.#connection.send(text)) return resolve();
      this.#waiting.push({ message, text, resolve, reject });
      if (this.#waiting.length <= QUEUE_MAX) return;
      const dropped = this.#waiting.shift();
      console.warn("high-templar: dropped", dropped?.message);
      dropped?.reject(new Error("dropped: too many messages wait for the socket to open"));
    });
    sent.catch(() => {}); // Whoever does not await it is not bothered.
    return sent;
  }

  /**
   * Subscribes to a room until `unsubscribe`.
   *
   * @throws TypeError if JSON cannot express the room
   */
  subscribe(props: SubscribeProps): Subscription {
    const key = roomKey(props.room);
    const same = this.subscriptions.filter((other) => this.#keys.get(other) === key);
    const names = [...new Set(same.map(({ requestId }) => requestId))];
    const requestId = names.length < NAMES_MAX ? undefined : names[same.length % NAMES_MAX];
    const subscription = new Subscription({ socket: this, ...props, requestId });
    this.#keys.set(subscription, key);
    this.subscriptions.push(subscription);
    this.#ask(subscription);
    return subscription;
  }

  /** Ends a subscription. */
  unsubscribe(subscription: Subscription): Promise<void> {
    subscription.stopListening();
    const isKnown = this.subscriptions.includes(subscription) && !subscription.messageCached;
    this.subscriptions = this.subscriptions.filter((other) => other !== subscription);
    const { requestId } = subscription;
    const isShared = this.subscriptions.some((other) => other.requestId === requestId);
    // Without a socket there is nothing to unsubscribe from, and it is not asked for again.
    if (isKnown && !isShared)
      this.#connection.send(JSON.stringify({ type: "unsubscribe", requestId }));
    return Promise.resolve();
  }

  /** Closes the socket; it does not come back. */
  close(): void {
    this.#connection.close();
  }

  #ask(subscription: Subscription): void {
    const text = JSON.stringify(asMessage(subscription));
    if (this.#connection.send(text)) subscription.messageCached = false;
  }

  #opened(): void {
    this.#emit("open");
    const again = this.subscriptions.filter(({ messageCached }) => !messageCached);
    for (const subscription of this.subscriptions) this.#ask(subscription);
    this.#waiting = this.#waiting.filter(({ text, resolve }) => {
      const isSent = this.#connection.send(text);
      if (isSent) resolve();
      return !isSent;
    });
    for (const subscription of again) guard(() => subscription.onReconnect?.());
  }

  #emit(type: string, argument?: GatewayMessage): void {
    for (const listener of [...(this.#listeners.get(type) ?? [])]) guard(() => listener(argument));
  }
}

/** What a {@link Subscription} is made of. */
export interface SubscriptionProps extends SubscribeProps {
  socket: Socket;
  /** The name of another subscription of the same room, to share it. */
  requestId?: string | undefined;
}

function asMessage({ room, requestId }: Subscription): SocketMessage {
  return { type: "subscribe", room, requestId };
}

let lastId = 0;

/** A room that is heard. Made by {@link Socket.subscribe}. */
export class Subscription {
  readonly room: Room;
  readonly socket: Socket;
  /** The name that the subscription has on the wire. */
  readonly requestId: string;
  readonly onPublish: SubscribeProps["onPublish"];
  readonly onReconnect: SubscribeProps["onReconnect"];
  /** Its first message still waits for the socket to open. */
  messageCached = true;
  readonly #isShared: boolean;
  readonly #heard = (message: GatewayMessage) => {
    if (message["type"] === "publish" && message["requestId"] === this.requestId) {
      // Who shares a name has a message of its own all the same, which it may change.
      this.onPublish?.(this.#isShared ? JSON.parse(JSON.stringify(message)) : message);
    }
  };

  constructor({ socket, room, onPublish, onReconnect, requestId }: SubscriptionProps) {
    this.socket = socket;
    this.room = room;
    this.onPublish = onPublish;
    this.onReconnect = onReconnect;
    this.#isShared = requestId !== undefined;
    this.requestId = requestId ?? String(++lastId);
    socket.on("message", this.#heard);
  }

  /** Calls `onPublish` no more, without telling the gateway. */
  stopListening(): void {
    this.socket.off("message", this.#heard);
  }
}
