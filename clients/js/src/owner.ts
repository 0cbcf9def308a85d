/**
 * What uses a connection.
 *
 * @module
 */

import type { ConnectionStatus } from "./options.js";
import type { GatewayMessage } from "./wire.js";

/** The user of a connection. */
export interface Owner {
  /** The socket is open; the gateway has sent nothing yet. */
  opened?(): void;
  /** The gateway admitted this client. */
  admitted?(): void;
  /** Any message but `pong`. */
  received(message: GatewayMessage): void;
  /** The socket is closed; outstanding requests will get no reply. */
  lost(): void;
  /** {@link Connection.status} has changed. */
  changed(before: ConnectionStatus): void;
  /** An error for the author of the page. */
  failed(error: Error): void;
}
