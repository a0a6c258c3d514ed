// Follows the server's events, comes back when they break off, and says how it
// stands. (EventSource would not say why it was refused, nor notice a server that
// has gone without a word.)

// The server speaks every second; who is silent for so long has gone.
const SILENCE_MS_MAX = 5_000;
const PAUSE_MS_MIN = 1_000;
const PAUSE_MS_MAX = 15_000;

/**
 * Calls `heard(event, first)` with each event, `first` for the first of a
 * connection, which holds the past; and `stands(how, why)` with "live", "stale" or
 * "paused". A page that nobody sees follows nothing: it would hold a connection,
 * of which a browser has few, and hears of the past when it is seen again.
 */
export async function follow(heard, stands) {
  let pause = PAUSE_MS_MIN;
  for (;;) {
    if (document.hidden) {
      stands("paused");
      await seen();
    }
    const why = await connection(heard, () => {
      pause = PAUSE_MS_MIN;
      stands("live");
    });
    if (document.hidden) continue;
    stands("stale", why);
    await wait(pause);
    pause = Math.min(pause * 2, PAUSE_MS_MAX);
  }
}

/** One connection, to its end; returns why it ended, if somebody says. */
async function connection(heard, began) {
  const end = new AbortController();
  const hide = () => document.hidden && end.abort();
  document.addEventListener("visibilitychange", hide);
  let alarm = 0;
  const listen = () => {
    clearTimeout(alarm);
    alarm = setTimeout(() => end.abort(), SILENCE_MS_MAX);
  };
  try {
    listen();
    const response = await fetch("events", { signal: end.signal, cache: "no-store" });
    if (!response.ok) return (await response.json()).message;
    let first = true;
    for await (const event of events(response.body)) {
      listen();
      if (first) began();
      heard(event, first);
      first = false;
    }
  } catch (error) {
    // A server that is away is told by the state; anything else is a fault of ours.
    if (error.name !== "AbortError" && !(error instanceof TypeError)) throw error;
  } finally {
    clearTimeout(alarm);
    document.removeEventListener("visibilitychange", hide);
    end.abort();
  }
  return undefined;
}

/** The data of each event. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const whole = text.split("\n\n");
    text = whole.pop();
    for (const event of whole) yield JSON.parse(event.slice("data: ".length));
  }
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Resolves when somebody looks. */
const seen = () => new Promise((resolve) => {
  const look = () => {
    if (document.hidden) return;
    document.removeEventListener("visibilitychange", look);
    resolve();
  };
  document.addEventListener("visibilitychange", look);
});
