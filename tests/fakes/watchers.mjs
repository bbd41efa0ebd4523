// Watches a server with the official client of Socket.IO and with the pages' own ones, and prints what each is told, as
// lines of JSON `[client, name, data]`. `node watchers.mjs <npm folder> <static/js> <http://address> <cookie> <transfer id>`;
// ends with its standard input.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [npm, scripts, origin, cookie, transferId] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${npm}/`));
const { io } = require("socket.io-client");
const { WebSocket } = require("ws");
const own = (name) => import(pathToFileURL(`${scripts}/${name}.js`));
const { connect } = await own("socket-io");
const { watch } = await own("live");

// What a browser does by itself.
class WithCookie extends WebSocket {
  constructor(url) {
    super(url, { headers: { cookie, origin } });
  }
}
class Blocked extends WebSocket {
  constructor() {
    super("ws://127.0.0.1:1/");
  }
}
const plainFetch = globalThis.fetch;
globalThis.fetch = (url, options) => plainFetch(url, { ...options, headers: { ...options.headers, cookie, "sec-fetch-site": "same-origin" } });

const tell = (client, name, data) => process.stdout.write(`${JSON.stringify([client, name, data ?? null])}\n`);

for (const transport of ["websocket", "polling"]) {
  const name = `official ${transport}`;
  const official = io(`${origin}/admin`, { transports: [transport], extraHeaders: { cookie }, reconnectionDelay: 50, reconnectionDelayMax: 200, forceNew: true });
  official.onAny((event, data) => tell(name, event, data));
  official.on("connect", () => tell(name, "connect"));
  official.on("disconnect", () => tell(name, "disconnect"));
}

connect({
  url: origin,
  namespace: "/admin",
  Socket: WithCookie,
  onConnect: () => tell("own", "connect"),
  onEvent: (event, data) => tell("own", event, data),
  onClose: () => tell("own", "disconnect"),
});

for (const [name, Socket, chosen] of [["live", WithCookie, { transferId }], ["live all", WithCookie, {}], ["live events", Blocked, { transferId }]]) {
  watch({
    ...chosen,
    origin,
    Socket,
    onSnapshot: (transfer) => tell(name, "snapshot", transfer),
    onConnection: ({ state, via }) => tell(name, state, via),
  });
}

process.stdin.on("end", () => process.exit(0)).resume();
