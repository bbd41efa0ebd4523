// The page of one transfer, and of all of them.

import { byId } from "./dom.js";
import { startShell } from "./shell.js";
import { showTransfers } from "./transfer-view.js";

const [, transferId] = /^\/transfers\/([0-9a-f]{32})$/.exec(location.pathname) ?? [];
await startShell({ page: "transfers" });
showTransfers(byId("main"), { transferId });
