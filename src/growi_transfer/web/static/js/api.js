// Requests to this server, as JSON.

export const API = "/_api/v3/g2g-transfer";

/** What the server, or the line to it, says instead of an answer. `status` is 0 when there was no answer at all. */
export class ApiError extends Error {
  constructor({ code, message, details = {}, status }) {
    super(message);
    this.name = "ApiError";
    this.code = code;
    this.details = details;
    this.status = status;
  }
}

/** GET: the JSON of a path below the API, or of a whole path that begins with `/_api/`. Throws ApiError. */
export function get(path, options) {
  return send("GET", path, undefined, options);
}

/**
 * The JSON of the answer; null for an empty one. `body` is sent as JSON; requests other than GET have `{}` if none is given. `json` is
 * a text that is sent as it stands.
 * Who is not logged in any more comes to the login page, and back. Throws ApiError.
 */
export async function send(method, path, body, { headers = {}, signal, login = true, origin = "", json } = {}) {
  const address = path.startsWith("/_api/") ? path : API + path;
  const given = { method, headers: { accept: "application/json", ...headers }, cache: "no-store", credentials: "same-origin", signal };
  if (method !== "GET") {
    given.headers["content-type"] = "application/json";
    given.body = json ?? JSON.stringify(body ?? {});
  }
  let answer;
  try {
    answer = await fetch(origin + address, given);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError({ code: "no_answer", message: "The server does not answer.", status: 0 });
  }
  const text = await answer.text().catch(() => "");
  if (answer.ok) return parsed(text);
  const refusal = parsed(text)?.errors?.[0] ?? {};
  const error = new ApiError({
    code: refusal.code ?? `http_${answer.status}`,
    message: refusal.message ?? `The server answers ${answer.status}.`,
    details: refusal.details,
    status: answer.status,
  });
  if (error.code === "admin_required" && login) toLogin();
  throw error;
}

/** Show the login page, which leads back to here. */
export function toLogin() {
  location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
}

function parsed(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}
