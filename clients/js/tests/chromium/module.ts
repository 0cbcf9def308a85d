// The client as a global, for tests that put its text into pages that have no address.

import { HighTemplar } from "@high-templar/client";

Object.assign(globalThis, { HighTemplar });
