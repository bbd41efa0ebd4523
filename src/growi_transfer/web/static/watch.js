// Shows transfers as they move. Every text of a transfer is written as text (textContent), never as HTML.

import { RUNNING, fillActions } from "./actions.js";

const API = "/_api/v3/g2g-transfer";
const STEPS = ["checked", "copying", "reconciling", "indexing", "verifying", "ready", "committing", "completed"];
const STOPPED = ["paused", "failed", "cancelled", "rolled_back"];
const FIRST_WAIT = 1000;
const LONGEST_WAIT = 15000;

const list = document.getElementById("transfers");
const line = document.getElementById("line");
const empty = document.getElementById("empty");
const template = document.getElementById("card");
const only = /^\/transfers\/([0-9a-f]{32})$/.exec(location.pathname)?.[1];
const cards = new Map();
const kepts = new Map();
let wait = FIRST_WAIT;

const number = new Intl.NumberFormat("en-US");
const day = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "short" });
const short = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit += 1;
  }
  return `${short.format(bytes)} ${units[unit]}`;
}

function duration(seconds) {
  if (seconds === null) return "not known yet";
  const parts = [
    [Math.floor(seconds / 3600), "h"],
    [Math.floor((seconds % 3600) / 60), "min"],
    [seconds % 60, "s"],
  ];
  return parts.filter(([value]) => value > 0).slice(0, 2).map(([value, unit]) => `${value} ${unit}`).join(" ") || "0 s";
}

function behind(lag) {
  if (!lag) return "";
  const when = lag.as_of ? new Date(lag.as_of).toLocaleString() : "the last reading";
  const differed = lag.documents ? `; ${number.format(lag.documents)} documents differed (${size(lag.bytes)})` : "";
  return when + differed + (lag.following ? "; following" : "");
}

function words(text) {
  return text.replaceAll("_", " ");
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function newCard(transfer) {
  const card = template.content.firstElementChild.cloneNode(true);
  const steps = card.querySelector(".steps");
  for (const step of STEPS) {
    const item = element("li", words(step));
    item.dataset.step = step;
    steps.append(item);
  }
  const link = card.querySelector("[data-link=id]");
  link.textContent = only ? transfer.id : transfer.id.slice(0, 8);
  link.href = `/transfers/${transfer.id}`;
  return card;
}

function fill(card, transfer) {
  const text = {
    direction: transfer.role === "pusher" ? "Sending" : "Receiving",
    state: words(transfer.state),
    dialect: transfer.dialect,
    bytes: `${size(transfer.bytes.done)} of ${size(transfer.bytes.total)}`,
    documents: `${number.format(transfer.documents.done)} of ${number.format(transfer.documents.total)}`,
    files: `${number.format(transfer.files.done)} of ${number.format(transfer.files.total)}`,
    speed: `${size(transfer.rate.bytes_per_second)}/s`,
    documentSpeed: short.format(transfer.rate.documents_per_second),
    fileSpeed: short.format(transfer.rate.files_per_second),
    eta: duration(transfer.eta_seconds),
    wire: size(transfer.bytes.wire),
    failed: number.format(transfer.files.failed),
    skipped: number.format(transfer.files.skipped),
    ...activity(transfer.activity),
    kept: transfer.rollback_until ? day.format(new Date(transfer.rollback_until)) : "",
    lag: behind(transfer.lag),
    commit: transfer.lag ? (transfer.lag.commit_possible ? "possible now" : words(transfer.lag.reason)) : "",
  };
  const runs = transfer.activity && RUNNING.includes(transfer.state);
  for (const part of card.querySelectorAll("[data-part=activity]")) part.hidden = !runs;
  card.querySelector("[data-part=kept]").hidden = !transfer.rollback_until;
  for (const [name, value] of Object.entries(text)) {
    for (const place of card.querySelectorAll(`[data-text=${name}]`)) place.textContent = value;
  }
  card.querySelector(".state").dataset.state = transfer.state;
  for (const name of ["mongo", "attachments"]) {
    const place = card.querySelector(`[data-status=${name}]`);
    place.textContent = words(transfer[name]).toLowerCase();
    place.dataset.value = transfer[name];
  }
  for (const name of ["bytes", "documents", "files"]) {
    const bar = card.querySelector(`[data-bar=${name}]`);
    const passed = transfer[name].done + (transfer[name].skipped ?? 0);
    bar.max = Math.max(1, transfer[name].total);
    bar.value = Math.min(passed, bar.max);
  }
  for (const part of card.querySelectorAll("[data-part=lag]")) part.hidden = !transfer.lag;
  fillSteps(card, transfer.state);
  fillWarnings(card, transfer.warnings);
  fillFailures(card, transfer.failures);
}

function activity(measured) {
  if (!measured) return {};
  const lane = ({ in_flight: now, limit, waiting }) => `${now} of ${limit}${waiting ? `, ${waiting} waiting` : ""}`;
  const retries = Object.entries(measured.retries).map(([code, times]) => `${number.format(times)} × ${code}`);
  return {
    volumes: lane(measured.volumes),
    attachmentRequests: lane(measured.attachments),
    retries: retries.join(", ") || "never",
  };
}

function fillSteps(card, state) {
  const at = STEPS.indexOf(state === "rolled_back" ? "completed" : state);
  const stopped = STOPPED.includes(state);
  card.querySelector(".steps").classList.toggle("stopped", stopped);
  for (const [index, item] of [...card.querySelectorAll(".steps li")].entries()) {
    item.classList.toggle("done", index < at || state === "completed");
    item.classList.toggle("now", index === at && state !== "completed");
  }
}

function fillWarnings(card, warnings) {
  const part = card.querySelector("[data-part=warnings]");
  part.hidden = warnings.length === 0;
  part.querySelector("ul").replaceChildren(
    ...warnings.map((warning) => {
      const item = element("li", warning.message);
      item.append(" ", element("code", warning.code));
      if (warning.details) item.append(" ", element("span", JSON.stringify(warning.details), "quiet"));
      return item;
    }),
  );
}

function fillFailures(card, failures) {
  const part = card.querySelector("[data-part=failures]");
  part.hidden = failures.length === 0;
  part.querySelector("tbody").replaceChildren(
    ...failures.map((failure) => {
      const row = element("tr");
      row.append(
        element("td", failure.item, "item"),
        element("td", failure.kind),
        element("td", failure.message),
        element("td", failure.code),
        element("td", number.format(failure.tries), "count"),
        element("td", failure.retryable ? "yes" : "no"),
      );
      return row;
    }),
  );
}

function show(transfer, { newest }) {
  if (only && transfer.id !== only) return;
  const name = `${transfer.role} ${transfer.id}`;
  if (!cards.has(name)) {
    const card = newCard(transfer);
    cards.set(name, card);
    if (newest) list.prepend(card);
    else list.append(card);
  }
  const card = cards.get(name);
  const kept = { rollback_until: keptUntil(card, transfer), ...transfer };
  fill(card, kept);
  fillActions(card, kept, (after) => show(after, { newest: false }));
  empty.hidden = true;
  if (only) document.title = `${words(transfer.state)}: growi-transfer`;
}

// Events do not tell until when a rollback is possible; it is asked for once a transfer is complete.
function keptUntil(card, transfer) {
  if (transfer.rollback_until !== undefined) {
    kepts.set(card, transfer.rollback_until);
  } else if (transfer.state === "completed" && !kepts.get(card)) {
    kepts.set(card, undefined);
    fetch(`${API}/transfers/${transfer.id}`, { cache: "no-store" })
      .then((answer) => answer.json())
      .then((body) => body.transfer?.state === "completed" && show(body.transfer, { newest: false }))
      .catch(() => {}); // the next event asks again
  }
  return transfer.state === "completed" ? kepts.get(card) : null;
}

function say(text, state) {
  line.textContent = text;
  line.className = `line ${state}`;
}

function again(reason) {
  say(`${reason}; trying again`, "waiting");
  setTimeout(watch, wait);
  wait = Math.min(wait * 2, LONGEST_WAIT);
}

async function watch() {
  let answer;
  try {
    answer = await fetch(only ? `${API}/transfers/${only}` : `${API}/transfers`, { cache: "no-store" });
  } catch {
    again("the server does not answer");
    return;
  }
  if (answer.status === 403) {
    location.reload(); // the login has ended: the same address shows the form
    return;
  }
  if (answer.status === 404) {
    empty.textContent = "There is no such transfer here.";
    empty.hidden = false;
  } else if (!answer.ok) {
    again(`the server answers ${answer.status}`);
    return;
  } else {
    const body = await answer.json();
    for (const transfer of body.transfers ?? [body.transfer]) show(transfer, { newest: false });
    empty.hidden = cards.size > 0;
  }
  const events = new EventSource(`${API}/events`);
  events.addEventListener("open", () => {
    wait = FIRST_WAIT;
    say("live", "live");
  });
  events.addEventListener("transfer", (event) => show(JSON.parse(event.data).transfer, { newest: true }));
  events.addEventListener("error", () => {
    events.close();
    again("the connection was lost");
  });
}

watch();
