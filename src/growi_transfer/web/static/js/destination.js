// The destination's page.

import { startShell } from "./shell.js";

await startShell({ page: "destination" });
