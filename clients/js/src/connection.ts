/**
 * One wanted connection: opens a socket, notices when it is dead, and comes back as it may.
 *
 * @module
 */

import type { Options, Status, WebSocketClass, WebSocketLike } from "./options.js";
import { type Backoff, judge, type Verdict, wait } from "./verdict.js";
import { type Message, offer, type Room, socketUrl } from "./wire.js";

/** Who uses a connection. */
export interface Owner {
  /** The socket is open; the gateway has said nothing yet. */
  opened?(): void;
  /** The gateway let this client in. */
  admitted?(): void;
  /** Any frame but `pong`. */
  received(message: Message): void;
  /** The socket is gone; whatever was asked and not answered will not be. */
  lost(): void;
  /** {@link Connection.status} is another one. */
  changed(before: Status): void;
  /** Something that the owner's user should know of. */
  failed(error: Error): void;
}

/** An admitted connection that lasted as long as this (milliseconds) starts the back-off anew. */
const STABLE = 10_000;

const DEFAULTS = {
  pingInterval: 30_000,
  pongTimeout: 10_000,
  connectTimeout: 30_000,
  backoff: { base: 1_000, later: 5_000, max: 30_000 } as Backoff,
  minWait: 0,
};

export class Connection {
  status: Status = { state: "closed", code: null, reason: "", retryAt: null, rooms: [] };

  readonly #owner: Owner;
  readonly #options: Options & typeof DEFAULTS;
  readonly #make: WebSocketClass;
  #socket: WebSocketLike | null = null;
  /** The one timer: of the attempt, of the next ping, of its answer, or of the wait. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Grows with every change of plan: what was awaited before it no longer counts. */
  #plan = 0;
  /** Failures in a row. */
  #attempt = 0;
  #admittedAt = 0;
  #denied = false;
  /** Something came since the last ping. */
  #heard = true;
  /** When the first ping without an answer left. */
  #askedAt = 0;
  /** The wait is the client's own, so that better times may end it. */
  #impatient = false;

  /** @throws TypeError if the address is none, Error if there is no WebSocket here */
  constructor(owner: Owner, options: Options & { minWait?: number }) {
    this.#owner = owner;
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    this.#options = { ...DEFAULTS, ...Object.fromEntries(given) } as Options & typeof DEFAULTS;
    this.#options.backoff = { ...DEFAULTS.backoff, ...options.backoff };
    const make = options.WebSocket ?? (globalThis.WebSocket as WebSocketClass | undefined);
    if (!make) throw new Error("there is no WebSocket here: give one as an option");
    this.#make = make;
    if (typeof options.url !== "function") socketUrl(options.url);
  }

  /** The socket of this moment; another one after every loss. */
  get socket(): WebSocketLike | null {
    return this.#socket;
  }

  /** Sends if the socket is open; says whether it is. */
  send(message: string | object): boolean {
    if (this.#socket?.readyState !== 1) return false;
    this.#socket.send(typeof message === "string" ? message : JSON.stringify(message));
    return true;
  }

  /** Connects at once, whatever the state; nothing to do where it is under way. */
  connect(): void {
    const { state } = this.status;
    if (state === "connecting" || state === "open") return;
    if (state === "closed") this.#listen(true);
    this.#start();
  }

  /** Ends it for good, until somebody calls `connect` again. */
  close(): void {
    if (this.status.state === "closed") return;
    this.#listen(false);
    this.#drop();
    this.#set({ state: "closed", code: 1000, reason: "", retryAt: null, rooms: [] });
  }

  /** Looks whether the other side is still there, or comes back at once. */
  readonly wake = (): void => {
    // A page in the background has time.
    if (globalThis.document?.visibilityState === "hidden") return;
    const { state } = this.status;
    if (state === "open" && this.#heard) this.#ping();
    if (state !== "waiting" || !this.#impatient || globalThis.navigator?.onLine === false) return;
    this.#start();
  };

  #start(): void {
    const { token, connectTimeout } = this.#options;
    const plan = ++this.#plan;
    this.#after(connectTimeout, () => this.#ended(1006, "connect-timeout"));
    this.#set({ ...this.status, state: "connecting", retryAt: null, rooms: [] });
    // Whoever heard of it may have other plans.
    if (plan !== this.#plan) return;
    if (typeof token !== "function") return this.#open(token || null);
    Promise.resolve()
      .then(token)
      .then(
        (token) => plan === this.#plan && this.#open(token || null),
        (error) => {
          if (plan !== this.#plan) return;
          this.#owner.failed(asError(error));
          this.#ended(1006, "token");
        },
      );
  }

  #open(token: string | null): void {
    const { url, tokenIn = "subprotocol", legacy = false } = this.#options;
    const late = token !== null && tokenIn === "message" && !legacy;
    let socket: WebSocketLike;
    try {
      const address = socketUrl(typeof url === "function" ? url() : url);
      const to = offer(address, token, tokenIn, legacy);
      socket = new this.#make(to.url, to.protocols);
    } catch (error) {
      // An address that no socket takes: trying again would not help.
      this.#owner.failed(asError(error));
      this.#drop();
      return this.#set({ ...this.status, state: "failed", retryAt: null });
    }
    this.#socket = socket;
    this.#denied = false;
    this.#admittedAt = 0;
    const mine = (act: () => void) => this.#socket === socket && act();
    socket.onopen = () =>
      mine(() => {
        if (late) this.send({ type: "authenticate", token });
        this.#owner.opened?.();
      });
    socket.onmessage = ({ data }) => mine(() => this.#received(data));
    socket.onclose = ({ code, reason }) => mine(() => this.#ended(code, reason));
    socket.onerror = () => {}; // A close follows.
  }

  #received(data: unknown): void {
    this.#heard = true;
    if (data === "pong") return;
    let message: Message;
    try {
      // Whatever is no object has nothing to say.
      message = Object(JSON.parse(data as string));
    } catch {
      return this.#owner.failed(new SyntaxError("the gateway sent something that is not JSON"));
    }
    if (message["is_authorized"] === true && this.status.state === "connecting") {
      this.#admittedAt = Date.now();
      const rooms = (message["allowed_rooms"] ?? []) as Room[];
      const plan = this.#plan;
      this.#heard = true;
      this.#after(this.#options.pingInterval, () => this.#ping());
      this.#owner.admitted?.();
      if (plan === this.#plan) {
        this.#set({ state: "open", code: null, reason: "", retryAt: null, rooms });
      }
    } else if (message["is_authorized"] === false) {
      this.#denied = true;
    }
    this.#owner.received(message);
  }

  /** Asks for an answer; any frame will do. */
  #ping(): void {
    const { pingInterval, pongTimeout } = this.#options;
    if (this.#heard) this.#askedAt = Date.now();
    this.#heard = false;
    this.send("ping");
    this.#after(Math.min(pingInterval, pongTimeout), () => this.#look());
  }

  /** Whether anything came since the ping. */
  #look(): void {
    const { pingInterval, pongTimeout } = this.#options;
    const silence = Date.now() - this.#askedAt;
    if (this.#heard) {
      return this.#after(Math.max(pingInterval - pongTimeout, 0), () => this.#ping());
    }
    // A machine that slept, or a frozen page, has not read yet what may have come meanwhile.
    if (silence > 3 * pongTimeout) this.#heard = true;
    else if (silence >= pongTimeout) return this.#ended(1006, "no-pong");
    this.#ping();
  }

  #ended(code: number, reason: string): void {
    const judgement = judge(code, reason, this.#denied);
    if (this.#admittedAt && Date.now() - this.#admittedAt > STABLE) this.#attempt = 0;
    this.#drop();
    const ended = { code, reason, retryAt: null, rooms: [] };
    if (judgement.verdict === "never") return this.#set({ ...ended, state: "failed" });
    if (judgement.verdict === "refused") return this.#refused({ ...ended, state: "refused" });
    this.#wait(judgement, ended);
  }

  #wait(judgement: { verdict: Verdict; within: number | null }, ended: Partial<Status>): void {
    const { backoff, minWait } = this.#options;
    const part = wait(judgement, this.#attempt++, backoff, Math.random());
    const ms = judgement.within === null ? minWait + part : part;
    this.#impatient = judgement.verdict !== "later" && judgement.within === null;
    this.#after(ms, () => this.#start());
    this.#set({ ...this.status, ...ended, state: "waiting", retryAt: Date.now() + ms });
  }

  #refused(status: Status): void {
    const plan = this.#plan;
    const { authenticate, minWait } = this.#options;
    this.#set(status);
    if (!authenticate || plan !== this.#plan) return;
    Promise.resolve()
      .then(() => authenticate(status))
      .then(
        (done) => {
          if (plan !== this.#plan || done === false) return;
          // Who is refused again after signing in is not let loose on the backend.
          if (this.#attempt || minWait) this.#wait({ verdict: "soon", within: null }, status);
          else {
            this.#attempt++;
            this.#start();
          }
        },
        (error) => plan === this.#plan && this.#owner.failed(asError(error)),
      );
  }

  /** Lets go of the socket, without waiting for a peer that may be gone. */
  #drop(): void {
    this.#plan++;
    clearTimeout(this.#timer);
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = null;
    if (socket.readyState < 2) socket.close(1000);
    this.#owner.lost();
  }

  #after(ms: number, act: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(act, ms);
  }

  #set(status: Status): void {
    const before = this.status;
    this.status = status;
    this.#owner.changed(before);
  }

  /** Hears of better times: the network is back, or somebody looks at the page again. */
  #listen(on: boolean): void {
    const method = on ? "addEventListener" : "removeEventListener";
    for (const type of ["online", "offline", "pageshow"]) globalThis[method]?.(type, this.wake);
    globalThis.document?.[method]("visibilitychange", this.wake);
  }
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
