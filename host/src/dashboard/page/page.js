// The page: keeps what the server tells, and shows it.

import { Chart } from "./chart.js";
import { CHARTS } from "./charts.js";
import { at, say } from "./elements.js";
import { follow } from "./stream.js";
import { failures, models, policies, routes, tiles } from "./tables.js";
import { trial } from "./trial.js";
import { clock, duration } from "./words.js";

// As many as the server keeps.
const POINTS_MAX = 900;

const marked = (at_ms) => charts.forEach((chart) => chart.mark(at_ms));
const charts = CHARTS.map((about) => new Chart(about, marked));
const shownInTrial = trial();
let points = [];
let range_s = 900;

at("charts").append(...charts.map((chart) => chart.figure));
at("range").addEventListener("change", (event) => {
  range_s = Number(event.target.value);
  draw();
});

follow(heard, stands);

function heard(event, first) {
  points = (first ? [] : points).concat(event.points).slice(-POINTS_MAX);
  const { view } = event;
  draw();
  tiles(at("tiles"), view);
  models(at("model-cards"), view);
  routes(at("route-table"), view);
  policies(at("policy-table"), view);
  failures(at("failure-table"), view);
  shownInTrial(view);
  about(view);
}

function draw() {
  charts.forEach((chart) => chart.update(points, range_s));
}

function about(view) {
  say(at("about"), `${view.version} · up ${duration(view.up_s)} · configuration ${view.generation}`);
  const states = [
    [view.draining, "warn", "draining"],
    [!view.ready, "bad", "✕ not ready"],
    [view.all.replicas_up < view.all.replicas, "bad", "✕ a replica is down"],
    [true, "good", "✓ ready"],
  ];
  const [, kind, words] = states.find(([so]) => so);
  pill(at("state"), kind, words);
  document.title = kind === "good" ? "maitred" : `${words} – maitred`;
}

/** How the stream stands; what is shown is old from when it broke off. */
function stands(how, why) {
  const last = points.at(-1);
  const since = last ? `stale since ${clock(last.at_ms)}` : "no connection";
  const words = { live: "● live", paused: "paused", stale: why ? `${since}: ${why}` : since }[how];
  pill(at("link"), { live: "", paused: "", stale: "warn" }[how], words);
  document.body.dataset.link = how;
  if (how !== "stale") return;
  // Whether the server is ready is not known now.
  say(at("state"), "");
  document.title = "stale – maitred";
}

/** A role of status is read out when its words change, so they seldom do. */
function pill(place, kind, words) {
  say(place, words);
  place.className = `pill ${kind}`.trim();
}
