// What an admin can do with a transfer: a button for each step that its state and role allow.

const API = "/_api/v3/g2g-transfer";
export const RUNNING = ["copying", "reconciling", "indexing", "verifying"];
const BEFORE_COMMIT = ["created", "checked", ...RUNNING, "ready", "paused", "failed"];

// `ask` is what is asked before the step; a step without it can be taken back.
const ACTIONS = [
  { verb: "pause", label: "Pause", roles: ["pusher"], when: (t) => RUNNING.includes(t.state) },
  { verb: "resume", label: "Resume", roles: ["pusher"], when: (t) => ["paused", "failed"].includes(t.state), main: true },
  { verb: "retry", label: "Retry failed", roles: ["pusher"], when: (t) => t.files.failed > 0 && ["paused", "failed"].includes(t.state) },
  {
    verb: "commit", label: "Commit", when: (t) => t.state === "ready", main: true,
    ask: "Swap in what was verified? The destination shows the new data from then on; its former data are kept for a rollback.",
  },
  {
    verb: "rollback", label: "Roll back", when: (t) => t.state === "completed" && t.rollback_until !== null,
    ask: "Bring back the destination's former data? What was written there since the commit is lost.",
  },
  {
    verb: "release-maintenance", label: "End maintenance mode", roles: ["receiver"], when: (t) => t.state === "completed",
    ask: "Open this wiki to its users? Restart GROWI and rebuild its search index first.",
  },
  {
    verb: "cancel", label: "Cancel transfer", when: (t) => BEFORE_COMMIT.includes(t.state), grave: true,
    ask: "Cancel this transfer? What was copied so far is thrown away, and its key cannot be used again. The destination stays as it was.",
  },
];

const dialog = document.getElementById("question");

function consent(action) {
  dialog.querySelector("p").textContent = action.ask;
  const yes = dialog.querySelector("[value=yes]");
  yes.textContent = action.label;
  yes.classList.toggle("grave", Boolean(action.grave));
  dialog.showModal();
  // Not the event `close`: it comes later, when the next question may be open already.
  const answered = new AbortController();
  return new Promise((resolve) => {
    const answer = (consents) => {
      answered.abort();
      resolve(consents);
    };
    dialog.addEventListener("submit", (event) => answer(event.submitter?.value === "yes"), { signal: answered.signal });
    dialog.addEventListener("cancel", () => answer(false), { signal: answered.signal });
  });
}

async function post(transfer, verb) {
  const answer = await fetch(`${API}/transfers/${transfer.id}/${verb}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{}",
  });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.errors?.[0]?.message ?? `The server answers ${answer.status}.`);
  return body.transfer;
}

/** Put the buttons that fit into a card. `changed` gets the transfer as it is after a step. */
export function fillActions(card, transfer, changed) {
  const part = card.querySelector(".actions");
  const fitting = ACTIONS.filter((action) => (action.roles ?? [transfer.role]).includes(transfer.role) && action.when(transfer));
  const names = fitting.map((action) => action.verb).join(" ");
  if (part.dataset.verbs === names) return;
  part.dataset.verbs = names;
  part.replaceChildren(...fitting.map((action) => button(card, transfer, action, changed)));
}

function button(card, transfer, action, changed) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = action.label;
  made.dataset.verb = action.verb;
  made.className = action.main ? "" : action.grave ? "second grave" : "second";
  made.addEventListener("click", async () => {
    const said = card.querySelector(".said");
    if (action.ask && !(await consent(action))) return;
    const buttons = card.querySelectorAll(".actions button");
    for (const one of buttons) one.disabled = true;
    said.hidden = true;
    try {
      const after = await post(transfer, action.verb);
      if (after) changed(after);
    } catch (error) {
      said.textContent = error.message;
      said.hidden = false;
    } finally {
      for (const one of buttons) one.disabled = false;
    }
  });
  return made;
}
