// The page behind a watch link. The token stands in the address after `#`, which a browser keeps to itself: it is in no
// request line, no log and no Referer.

import { byId } from "./dom.js";
import { startShell } from "./shell.js";
import { showTransfer } from "./transfer-view.js";

await startShell({ admin: false });
showTransfer(byId("main"), { token: location.hash.slice(1) || "none" });
