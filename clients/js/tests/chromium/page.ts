// A plain page: tests make clients in it, of the module as it is published.

import * as module from "@high-templar/client/page";

Object.assign(window, module);
