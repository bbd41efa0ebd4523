// The source's page.

import { startShell } from "./shell.js";

await startShell({ page: "source" });
