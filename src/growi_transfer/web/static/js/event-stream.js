// Server-sent events read through fetch: unlike EventSource it sends headers, and tells why a server refuses.

const SILENT_MS = 45_000; // the server breaks a silence every 15 s

/**
 * Read a stream. `onOpen()`, `onEvent(name, data)` with the data's JSON, and in the end, once, `onClose({ opened, status })`:
 * the status of a refusal, 0 without an answer. Returns `close()`, after which nothing is called any more.
 */
export function readEvents({ url, headers = {}, onOpen, onEvent, onClose, silentMs = SILENT_MS }) {
  const abort = new AbortController();
  let opened = false;
  let over = false;
  let status = 0;
  let silence = null;

  function heard() {
    clearTimeout(silence);
    silence = setTimeout(() => abort.abort(), silentMs);
  }

  async function read() {
    heard();
    const answer = await fetch(url, {
      headers: { accept: "text/event-stream", ...headers },
      cache: "no-store",
      credentials: "same-origin",
      signal: abort.signal,
    });
    status = answer.status;
    if (!answer.ok) return;
    opened = true;
    if (!over) onOpen();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done || over) return;
      heard();
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) tell(event);
    }
  }

  function tell(event) {
    let name = "message";
    let data = "";
    for (const line of event.split("\n")) {
      if (line.startsWith("event: ")) name = line.slice(7);
      if (line.startsWith("data: ")) data += line.slice(6);
    }
    if (data && !over) onEvent(name, JSON.parse(data));
  }

  read()
    .catch(() => {}) // what is lost is told by the end
    .finally(() => {
      clearTimeout(silence);
      if (!over) onClose({ opened, status });
      over = true;
    });
  return () => {
    over = true;
    clearTimeout(silence);
    abort.abort();
  };
}
