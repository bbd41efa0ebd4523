// Scripts of the pages that need no page, as modules: by name, from the folder in STATIC_SCRIPTS.

import { readFileSync } from "node:fs";
import { join } from "node:path";

export function load(name) {
  // By its text: a `.js` file without a package.json beside it is no module to Node.
  const text = readFileSync(join(process.env.STATIC_SCRIPTS, `${name}.js`), "utf-8");
  return import(`data:text/javascript,${encodeURIComponent(text)}`);
}
