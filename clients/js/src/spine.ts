/**
 * `Socket` and `Subscription` with the interface of `spine-high-templar`: change the import, and
 * pages stay as they are.
 *
 * What is different: the client notices a dead connection, comes back after `reconnectInterval` or
 * somewhat later, so that not all pages come at once, and does as close codes say.
 *
 * @packageDocumentation
 */

import { Connection } from "./connection.js";
import { guard } from "./guard.js";
import type { WebSocketClass, WebSocketLike } from "./options.js";
import type { Message, Room } from "./wire.js";

export type { Json, Room } from "./wire.js";
export type { WebSocketClass, WebSocketLike };

/** The options of a {@link Socket}. */
export interface SocketOptions {
  /** Where the gateway listens, `wss://host/ws/`. */
  url: string;
  /** Sent as `?token=`. */
  token?: string;
  /**
   * Milliseconds between two pings.
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
  resolve: () => void;
}

/** Messages that wait for the socket to open; beyond it the oldest is dropped. */
const QUEUE_MAX = 1_000;

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
  #waiting: Waiting[] = [];

  constructor(props: SocketOptions) {
    this.pingInterval = props.pingInterval ?? 30_000;
    this.reconnectInterval = props.reconnectInterval ?? 2_000;
    const { pingInterval, reconnectInterval } = this;
    const owner = {
      opened: () => this.#opened(),
      received: (message: Message) => this.#emit("message", message),
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
    this.#connection.connect();
  }

  /** The WebSocket of this moment, `null` while there is none. */
  get instance(): WebSocketLike | null {
    return this.#connection.socket;
  }

  /** What waits for the socket to open. */
  get pendingSendMessages(): SocketMessage[] {
    return this.#waiting.map(({ message }) => message);
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

  /** Sends now or when the socket is open; the promise resolves then. */
  send({ type, data, room, requestId }: SocketMessage): Promise<void> {
    const message = { type, data, room, requestId };
    if (this.#connection.send(message)) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push({ message, resolve });
      if (this.#waiting.length > QUEUE_MAX) {
        console.warn("high-templar: dropped", this.#waiting.shift()?.message);
      }
    });
  }

  /** Hears a room until `unsubscribe`. */
  subscribe(props: SubscribeProps): Subscription {
    const subscription = new Subscription({ socket: this, ...props });
    this.subscriptions.push(subscription);
    this.#ask(subscription);
    return subscription;
  }

  /** Hears a room no more. */
  unsubscribe(subscription: Subscription): Promise<void> {
    subscription.stopListening();
    this.subscriptions = this.subscriptions.filter((other) => other !== subscription);
    return this.send({ type: "unsubscribe", requestId: subscription.requestId });
  }

  /** Closes the socket; it does not come back. */
  close(): void {
    this.#connection.close();
  }

  #ask(subscription: Subscription): void {
    const { room, requestId } = subscription;
    this.send({ type: "subscribe", room, requestId }).then(() => {
      subscription.messageCached = false;
    });
  }

  #opened(): void {
    this.#emit("open");
    // Those whose first message still waits are not asked for twice.
    const again = this.subscriptions.filter(({ messageCached }) => !messageCached);
    for (const { message, resolve } of this.#waiting.splice(0)) {
      this.#connection.send(message);
      resolve();
    }
    for (const subscription of again) this.#ask(subscription);
    for (const subscription of again) guard(() => subscription.onReconnect?.());
  }

  #emit(type: string, argument?: Message): void {
    for (const listener of [...(this.#listeners.get(type) ?? [])]) guard(() => listener(argument));
  }
}

/** What a {@link Subscription} is made of. */
export interface SubscriptionProps extends SubscribeProps {
  socket: Socket;
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
  readonly #heard = (message: Message) => {
    if (message["type"] === "publish" && message["requestId"] === this.requestId) {
      this.onPublish?.(message);
    }
  };

  constructor({ socket, room, onPublish, onReconnect }: SubscriptionProps) {
    this.socket = socket;
    this.room = room;
    this.onPublish = onPublish;
    this.onReconnect = onReconnect;
    this.requestId = String(++lastId);
    socket.on("message", this.#heard);
  }

  /** Calls `onPublish` no more, without telling the gateway. */
  stopListening(): void {
    this.socket.off("message", this.#heard);
  }
}
