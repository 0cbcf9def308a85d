/**
 * Recovery: what a client keeps to receive, after a reconnect, exactly the publications it missed.
 *
 * @module
 */

import type { Kept } from "./persist.js";
import type { Channel } from "./requests.js";
import type { GatewayMessage } from "./wire.js";

/** The `requestId` of a JSON ping. */
export const PING = "ping";

/** The `requestId` of a `resume`. */
export const RESUME = "resume";

/**
 * Maximum length of a `resume`, in UTF-16 code units: at most 48 KB of UTF-8, which is less than
 * what a gateway accepts that says nothing else.
 */
const RESUME_MAX = 16_000;

/** What a room takes there beside its own text, and the message beside its rooms, at most. */
const ROOM_MAX = 120;

/** Publications that are delivered again for the rooms of one request. */
export interface Replay {
  /** How many are yet to arrive. */
  left: number;
  readonly channels: readonly Channel[];
}

type Texts = Readonly<Record<string, string | null | undefined>>;

/** A `resume`, and the rooms in it. */
export interface Resume {
  readonly text: string;
  readonly channels: Channel[];
}

/** The state of one client. Without the gateway's `features` it stays empty. */
export class Recovery {
  /** The last cursor of the gateway: every publication up to it arrived. */
  cursor: string | null = null;
  /** The resume ticket and its proof, with which the gateway need not ask the backend again. */
  ticket: string | null = null;
  /** The cursor of this connection's first message. */
  #head: string | null = null;
  #features: unknown[] = [];
  /** Maximum length of a `resume`. */
  #max = RESUME_MAX;
  /** The gateway has yet to answer where the rooms are: its other cursors are not theirs. */
  #isAsked = false;
  /** Rooms that were sent everything; the next cursor is theirs, too. */
  #complete: Channel[] = [];
  #ticket: string | null = null;

  /** Whether the gateway has a feature. */
  has(feature: "since" | "resume" | "ping"): boolean {
    return this.#features.includes(feature);
  }

  /** Reads a message; returns whether it is nothing but the reply to a ping. */
  received(message: GatewayMessage): boolean {
    const { type, requestId, features, message_bytes } = message;
    const { cursor = null, ticket = null, proof } = message as Texts;
    const isFirst = type === undefined && "is_authorized" in message;
    if (isFirst || ticket || type === "permissions") {
      this.#ticket = ticket;
      this.ticket = null;
    }
    if (this.#ticket && proof && cursor) this.ticket = `${this.#ticket}.${cursor}.${proof}`;
    if (isFirst) {
      this.#features = [features].flat();
      this.#complete = [];
      this.#head = cursor;
      this.#isAsked = false;
      this.#max = Math.min(RESUME_MAX, Number(message_bytes ?? RESUME_MAX * 4) / 3 - ROOM_MAX);
      return false;
    }
    if (type === undefined && requestId === RESUME) this.#isAsked = false;
    if (cursor && !this.#isAsked) {
      this.cursor = cursor;
      for (const channel of this.#complete.splice(0)) if (channel.since) caughtUp(channel);
    }
    return type === undefined && requestId === PING && this.has("ping");
  }

  /** The member `since` of a subscribe. */
  since({ since }: Channel): string {
    return since && this.has("since") ? `,"since":${JSON.stringify(since)}` : "";
  }

  /** After a reconnect: the messages that subscribe to rooms again and deliver what they missed. */
  resume(channels: readonly Channel[]): Resume[] {
    const { cursor } = this;
    const known = channels.filter(({ since }) => since !== undefined);
    if (!cursor || !known.length || !this.has("resume")) {
      this.cursor = this.#head;
      return [];
    }
    const batches: Channel[][] = [];
    let length = this.#max;
    this.#isAsked = true;
    for (const channel of known) {
      const more = channel.key.length + ROOM_MAX;
      length += more;
      if (length > this.#max) {
        length = more;
        batches.push([]);
      }
      // The cursor of the connection moves with what the first message replays.
      if (batches.length > 1) channel.since ||= cursor;
      batches.at(-1)?.push(channel);
    }
    const head = `{"type":"resume","requestId":"${RESUME}","cursor":${JSON.stringify(cursor)}`;
    return batches.map((channels) => {
      const rooms = channels.map(
        (channel) =>
          `{"room":${channel.key},"requestId":"${channel.requestId}"${this.since(channel)}}`,
      );
      return { text: `${head},"subscriptions":[${rooms}]}`, channels };
    });
  }

  /** What the page may keep across a reload. */
  kept(channels: Iterable<Channel>): Kept {
    const { cursor, ticket } = this;
    const rooms: Record<string, string | null | undefined> = {};
    for (const { key, since } of channels) rooms[key] = since === null ? cursor : since;
    return { rooms, ticket };
  }

  /** The gateway confirmed rooms, and sends first what they missed. */
  confirmed(channels: readonly Channel[], { recovered, replayed }: GatewayMessage): void {
    const left = recovered ? Number(replayed) : 0;
    const replay = left ? { left, channels } : null;
    for (const channel of channels) {
      channel.replay = replay;
      if (!replay) caughtUp(channel);
    }
  }

  /** Counts a publication of a room; returns whether the room has not had it. */
  isNew(channel: Channel, { cursor }: GatewayMessage): boolean {
    const { replay } = channel;
    if (!replay) return true;
    // A room with a cursor of its own is sent again what came since.
    const isNew = !channel.since || ++channel.seen > channel.heard;
    if (isNew) channel.heard = channel.seen;
    if (cursor) caughtUp(channel);
    if (--replay.left) return isNew;
    const complete = replay.channels.filter((each) => each.replay === replay);
    for (const each of complete) {
      each.replay = null;
      if (cursor) caughtUp(each);
    }
    if (!cursor) this.#complete.push(...complete);
    return isNew;
  }
}

/** From now on the room's cursor is that of the connection. */
export function caughtUp(channel: Channel): void {
  channel.since = null;
  channel.seen = 0;
  channel.heard = 0;
}
