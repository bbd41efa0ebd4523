// A client of Socket.IO 5 on Engine.IO 4, over WebSocket alone: what a page needs to be told things, and no more.
//
// A message begins with Engine.IO's type: 0 open (JSON: pingInterval, pingTimeout in ms), 1 close, 2 ping (answered with 3),
// 4 message. A message goes on with Socket.IO's type: 0 connect, 1 disconnect, 2 event, 4 refused; then the namespace
// and a comma, then JSON. The sender of pings is the server, so a line that is silent for longer than both times is dead.

const CONNECT_MS = 8000;

/**
 * Connect to one namespace. `onConnect()` once it has let us in, `onEvent(name, data)`, and in the end, once,
 * `onClose({ opened, refused })`: `opened` tells whether we were let in, `refused` is the server's refusal, if that was it.
 * Returns `close()`, after which nothing is called any more.
 */
export function connect({ url, namespace, auth, onConnect, onEvent, onClose, connectMs = CONNECT_MS, Socket = globalThis.WebSocket }) {
  let opened = false;
  let over = false;
  let silence = null;
  let longest = connectMs;
  let socket;

  function end(refused) {
    if (over) return;
    stop();
    onClose({ opened, refused });
  }

  function stop() {
    over = true;
    clearTimeout(silence);
    socket?.close();
  }

  function heard() {
    clearTimeout(silence);
    silence = setTimeout(end, longest);
  }

  function message(text) {
    const type = text[0];
    if (!text.startsWith(namespace, 1)) return;
    const body = text.slice(1 + namespace.length).replace(/^,/, "");
    if (type === "0") {
      opened = true;
      heard();
      onConnect();
    } else if (type === "1") {
      end();
    } else if (type === "4") {
      end(JSON.parse(body || "{}").message ?? "refused");
    } else if (type === "2") {
      const [name, data] = JSON.parse(body.replace(/^\d+/, ""));
      onEvent(name, data);
    }
  }

  try {
    socket = new Socket(`${url.replace(/^http/, "ws")}/socket.io/?EIO=4&transport=websocket`);
  } catch {
    queueMicrotask(end); // a policy may forbid it at once
    return () => {
      over = true;
    };
  }
  // Until we are in, the whole time counts; from then on each silence.
  silence = setTimeout(end, connectMs);
  socket.addEventListener("message", ({ data }) => {
    if (over || typeof data !== "string") return;
    if (opened) heard();
    if (data[0] === "0") {
      const { pingInterval, pingTimeout } = JSON.parse(data.slice(1));
      longest = pingInterval + pingTimeout;
      socket.send(`40${namespace},${JSON.stringify(auth ?? {})}`);
    } else if (data[0] === "1") {
      end();
    } else if (data[0] === "2") {
      socket.send("3");
    } else if (data[0] === "4") {
      message(data.slice(1));
    }
  });
  socket.addEventListener("close", () => end());
  socket.addEventListener("error", () => end());
  return stop;
}
