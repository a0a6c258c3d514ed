// The present figures as tiles, cards and tables.

import { at, each, element, say } from "./elements.js";
import { amount, clock, count, MISSING, number, split } from "./words.js";

/** The figures at the top. */
export function tiles(list, { all, window_s }) {
  const up = `${all.replicas_up} of ${all.replicas}`;
  const figures = [
    ["requests", all.requests.answered, "/s"],
    ["pairs", all.pairs, "/s"],
    ["latency p50", all.latency.p50_ms, "ms"],
    ["latency p95", all.latency.p95_ms, "ms"],
    ["latency p99", all.latency.p99_ms, "ms"],
    ["in flight", all.in_flight, ""],
    ["waiting pairs", all.queue_pairs, ""],
    ["refused", all.requests.refused, "/s", all.requests.refused > 0 && "warn"],
    ["failed", all.requests.failed, "/s", all.requests.failed > 0 && "bad"],
    ["replicas up", up, "", all.replicas_up < all.replicas && "bad"],
    ["CPU", all.cpu_cores, "cores"],
    ["memory", all.memory_bytes, "B"],
  ];
  each(list, figures, () => {
    const tile = element("div", {});
    const value = element("dd", {});
    value.append(element("span", {}), " ", element("span", { class: "unit" }));
    tile.append(element("dt", {}), value);
    return tile;
  }, (tile, [label, value, unit, state]) => {
    const [text, of] = typeof value === "string" ? [value, ""] : split(value, unit);
    const [name, shown] = tile.children;
    say(name, label);
    say(shown.children[0], text);
    say(shown.children[1], of);
    tile.className = state || "";
  });
  say(at("window"), Math.round(window_s));
}

/** Models with their replicas. */
export function models(place, view) {
  each(place, view.models, () => {
    const card = element("div", { class: "card model" });
    const title = element("h3", {});
    title.append(element("span", {}), element("small", {}));
    card.append(title, element("dl", { class: "facts" }), element("ul", { class: "replicas" }));
    return card;
  }, (card, model) => {
    const [title, facts, replicas] = card.children;
    say(title.children[0], model.name);
    say(title.children[1], `${model.source} · ${model.precision}`);
    replicas.setAttribute("aria-label", `replicas of ${model.name}`);
    const figures = [
      ["pairs", amount(model.pairs, "/s")],
      ["tokens", amount(model.tokens, "/s")],
      ["waiting", amount(model.queue_pairs, "pairs")],
      ["batch", amount(model.batch.pairs, "pairs")],
      ["batch time", amount(model.batch_ms, "ms")],
      ["filled", amount(model.batch.fill, "%")],
      ["padding", amount(model.batch.padding, "%")],
    ];
    each(facts, figures, () => {
      const fact = element("div", {});
      fact.append(element("dt", {}), element("dd", {}));
      return fact;
    }, (fact, [label, text]) => {
      say(fact.children[0], label);
      say(fact.children[1], text);
    });
    each(replicas, model.replicas, newReplica, replica);
  });
}

// A sign beside each state, for who cannot tell colours apart.
const SIGNS = { starting: "…", idle: "✓", busy: "✓", failed: "✕" };

function newReplica() {
  const tile = element("li", {});
  const title = element("strong", {});
  title.append(element("span", {}), element("span", {}));
  const bar = element("span", { class: "bar", "aria-hidden": "true" });
  bar.append(element("i", {}));
  tile.append(title, bar, element("span", {}), " ", element("span", { class: "restarts" }));
  return tile;
}

function replica(tile, { state, busy, restarts, restarts_ever }, place) {
  const [title, bar, share, again] = tile.children;
  tile.className = `replica ${state}${restarts > 0 ? " restarted" : ""}`;
  say(title.children[0], `replica ${place}`);
  say(title.children[1], `${SIGNS[state] ?? ""} ${state}`);
  bar.firstChild.style.width = `${(busy ?? 0) * 100}%`;
  say(share, `${amount(busy, "%")} busy`);
  say(again, restarts_ever > 0 ? `· restarted ${count(restarts_ever)}×` : "");
}

export function routes(table, view) {
  rows(table, view.routes, (route) => [
    head(route.default ? `${route.name} (default)` : route.name),
    text(route.model),
    text(route.policies.map((policy) => policy.split("@")[0]).join(" › ") || MISSING),
    figure(number(route.requests.answered)),
    figure(number(route.requests.refused), route.requests.refused > 0 && "warn-text"),
    figure(number(route.requests.failed), route.requests.failed > 0 && "bad-text"),
    figure(amount(route.latency.p50_ms, "ms")),
    figure(amount(route.latency.p95_ms, "ms")),
    figure(amount(route.latency.p99_ms, "ms")),
    figure(amount(route.stages.queue_ms, "ms")),
    figure(amount(route.stages.inference_ms, "ms")),
    figure(amount(route.stages.guest_cpu_ms, "ms")),
    figure(count(route.bypasses_ever), route.bypasses_ever > 0 && "warn-text"),
  ]);
}

export function policies(table, view) {
  rows(table, view.policies, (policy) => {
    const failures = Object.entries(policy.failures_ever);
    return [
      head(policy.name),
      text(policy.version, "code"),
      figure(number(policy.calls)),
      figure(amount(policy.cpu_ms, "ms")),
      figure(amount(policy.memory_bytes_p95, "B")),
      figure(count(policy.calls_ever)),
      text(failures.map(([reason, times]) => `${reason} ${count(times)}`).join(", ") || "none",
        failures.length > 0 ? "bad-text" : ""),
    ];
  });
}

export function failures(table, view) {
  rows(table, view.failures, (failure) => [
    head(clock(failure.at_ms)),
    figure(count(failure.times)),
    figure(String(failure.status), failure.status >= 500 && "bad-text"),
    text(failure.kind, "nowrap"),
    text(failure.message),
    text(failure.route ?? MISSING),
    text(failure.caller ?? MISSING),
    text(failure.request_id, "code nowrap"),
  ]);
}

const head = (words) => ({ name: "th", words, kind: "nowrap" });
const text = (words, kind = "") => ({ name: "td", words, kind });
const figure = (words, kind = "") => ({ name: "td", words, kind: `number ${kind || ""}`.trim() });

function rows(table, items, cells) {
  each(table.tBodies[0], items, () => element("tr", {}), (row, item) => {
    const wanted = cells(item);
    each(row, wanted, ({ name }) => element(name, name === "th" ? { scope: "row" } : {}),
      (cell, { words, kind }) => {
        if (cell.className !== kind) cell.className = kind;
        say(cell, words);
      });
  });
}
