// Scripts of the pages that need no page, as modules: by name, from the folder in STATIC_SCRIPTS, with what they import.

import { readFileSync } from "node:fs";
import { join } from "node:path";

export function load(name) {
  return import(addressOf(name));
}

function addressOf(name) {
  // By its text: a `.js` file without a package.json beside it is no module to Node.
  const text = readFileSync(join(process.env.STATIC_SCRIPTS, `${name}.js`), "utf-8");
  const whole = text.replace(/ from "\.\/([\w-]+)\.js"/g, (_, other) => ` from ${JSON.stringify(addressOf(other))}`);
  return `data:text/javascript,${encodeURIComponent(whole)}`;
}
