// Which charts there are, and what each shows of a point.

const series = (label, colour, of) => ({ label, colour: `series-${colour}`, of });

/** `scale` is the unit of labels on the chart; `unit` stands beside the title. */
export const CHARTS = [
  {
    title: "Requests", unit: "per second", scale: "", least: 1,
    series: [
      series("answered", 1, (point) => point.requests.answered),
      series("refused", "warn", (point) => point.requests.refused),
      series("failed", "bad", (point) => point.requests.failed),
    ],
  },
  {
    title: "Pairs scored", unit: "per second", scale: "", least: 1,
    series: [series("pairs", 1, (point) => point.pairs)],
  },
  {
    title: "Latency", scale: "ms", least: 1,
    series: [
      series("p50", 1, (point) => point.latency.p50_ms),
      series("p95", 2, (point) => point.latency.p95_ms),
      series("p99", 3, (point) => point.latency.p99_ms),
    ],
  },
  {
    title: "Stages", unit: "mean of a request", scale: "ms", least: 1, stacked: true,
    series: [
      series("tokenize", 4, (point) => point.stages.tokenize_ms),
      series("queue", 2, (point) => point.stages.queue_ms),
      series("inference", 1, (point) => point.stages.inference_ms),
      series("policies", 3, (point) => point.stages.guest_cpu_ms),
    ],
  },
  {
    title: "Queue", unit: "pairs that wait", scale: "", least: 1,
    series: [series("waiting", 2, (point) => point.queue_pairs)],
  },
  {
    title: "Batches", unit: "share of tokens", scale: "%", least: 0.1,
    series: [
      series("filled", 1, (point) => point.batch.fill),
      series("padding", 2, (point) => point.batch.padding),
    ],
  },
  {
    title: "Replicas", scale: "", least: 1,
    series: [
      series("in service", 4, (point) => point.replicas_up),
      series("configured", 1, (point) => point.replicas),
      series("restarts", "bad", (point) => point.restarts),
    ],
  },
  {
    title: "Memory", unit: "of the process", scale: "B", least: 1,
    series: [series("resident", 3, (point) => point.memory_bytes)],
  },
];
