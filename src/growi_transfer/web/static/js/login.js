// The login form works without this; here it gets its texts.

import { hasText, t } from "./i18n.js";
import { startShell } from "./shell.js";

await startShell({ admin: false });
const problem = document.querySelector("[data-code]");
const key = `error.${problem?.dataset.code}`;
if (hasText(key)) problem.textContent = t(key);
document.getElementById("token").focus();
