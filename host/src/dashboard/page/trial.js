// A query that is tried: through a route, and through its plain model beside it.

import { at, element } from "./elements.js";
import { amount, MISSING } from "./words.js";

/** Makes the form work; returns what it wants to know of each view. */
export function trial() {
  const form = at("trial");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!asking(form)) ask(form);
  });
  return (view) => {
    const names = view.routes.map((route) => route.name);
    const select = at("trial-route");
    const there = [...select.options].map((option) => option.value);
    if (names.join("\n") !== there.join("\n")) {
      const chosen = there.includes(select.value) ? select.value
        : view.routes.find((route) => route.default)?.name;
      select.replaceChildren(...names.map((name) => element("option", {}, name)));
      select.value = names.includes(chosen) ? chosen : names[0];
    }
    at("trial-keyed").hidden = !view.callers;
  };
}

const button = (form) => form.querySelector("button");
const asking = (form) => button(form).getAttribute("aria-disabled") === "true";

async function ask(form) {
  button(form).setAttribute("aria-disabled", "true");
  tell("ranking…");
  try {
    const documents = lines(form.documents.value);
    const headers = { "content-type": "application/json" };
    if (form.key.value) headers.authorization = `Bearer ${form.key.value}`;
    const body = JSON.stringify({ route: form.route.value, query: form.query.value, documents });
    const response = await fetch("try", { method: "POST", headers, body });
    const answer = await response.json();
    if (answer.chain) show(answer, documents);
    else tell(answer.message, "bad-text");
  } catch (error) {
    tell(error instanceof TypeError ? "the server does not answer" : error.message, "bad-text");
  } finally {
    button(form).removeAttribute("aria-disabled");
  }
}

/** A document a line; what begins as an object is read as one. */
function lines(text) {
  const documents = text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  return documents.map((line, at) => {
    if (!line.startsWith("{")) return line;
    try {
      return JSON.parse(line);
    } catch (error) {
      throw new Error(`document ${at + 1} begins as an object and is none: ${error.message}`);
    }
  });
}

function show({ route, chain, plain }, documents) {
  at("trial-chain-title").textContent = `Route ${route}`;
  at("trial-plain").closest(".card").hidden = plain === null;
  const beside = plain?.results;
  fill("trial-chain", chain, documents, beside);
  if (plain !== null) fill("trial-plain", plain, documents);
  at("trial-results").hidden = false;
  if (chain.results) tell(`ranked ${documents.length} documents in ${amount(chain.took_ms, "ms")}`);
  else tell(`the route failed with ${chain.status}`, "bad-text");
}

function fill(id, run, documents, beside) {
  const about = at(`${id}-about`);
  const body = at(id).tBodies[0];
  about.className = run.results ? "soft" : "bad-text";
  if (!run.results) {
    about.textContent = `${run.status}: ${run.message}`;
    body.replaceChildren();
    return;
  }
  const words = [amount(run.took_ms, "ms"), `${run.pairs} pairs`, `${run.tokens} tokens`];
  if (run.guest_cpu_ms > 0) words.push(`policies ${amount(run.guest_cpu_ms, "ms")}`);
  if (run.filtered > 0) words.push(`${run.filtered} left out`);
  if (run.order_only) words.push("an order, not scores");
  if (run.bypassed) words.push("a policy failed: this is the plain model's");
  about.textContent = words.join(" · ");
  const before = beside && new Map(beside.map(({ index }, place) => [index, place]));
  const rows = run.results.map(({ index, score }, place) =>
    row(String(place + 1), before && moved(before.get(index), place), score, documents[index]));
  const kept = new Set(run.results.map(({ index }) => index));
  documents.forEach((document, index) => {
    if (kept.has(index)) return;
    const out = row(MISSING, before && ["", "left out"], null, document);
    out.className = "out";
    rows.push(out);
  });
  body.replaceChildren(...rows);
}

/** How far a document moved against the plain model: a sign, and words for it. */
function moved(before, place) {
  if (before === undefined) return ["new", "not in the plain ranking"];
  const up = before - place;
  if (up === 0) return ["=", "same place"];
  const places = `${Math.abs(up)} ${Math.abs(up) === 1 ? "place" : "places"}`;
  return up > 0 ? [`▲${up}`, `up ${places}`] : [`▼${-up}`, `down ${places}`];
}

function row(rank, move, score, document) {
  const made = element("tr", {});
  made.append(element("td", { class: "number" }, rank));
  if (move) {
    const [sign, words] = move;
    made.append(element("td", { class: "nowrap", title: words, "aria-label": words }, sign || words));
  }
  const shown = element("td", { class: "number" });
  shown.append(score === null ? MISSING : score.toFixed(4));
  if (score !== null) {
    const bar = element("span", { class: "bar", "aria-hidden": "true" });
    const share = element("i", {});
    share.style.width = `${Math.max(0, Math.min(1, score)) * 100}%`;
    bar.append(share);
    shown.append(bar);
  }
  const words = typeof document === "string" ? document : document.text;
  made.append(shown, element("td", {}, words));
  return made;
}

function tell(words, kind = "soft") {
  const status = at("trial-status");
  status.className = kind;
  status.textContent = words;
}
