// Numbers as people read them. What is missing is a dash, and never 0.

export const MISSING = "–";

const digits = (value, most) => value.toLocaleString("en-GB", { maximumSignificantDigits: most });

/** Three digits that count; large ones in thousands or millions. */
export function number(value) {
  if (value === null || value === undefined) return MISSING;
  const size = Math.abs(value);
  if (size >= 999_500) return `${digits(value / 1e6, 3)}M`;
  if (size >= 9_999.5) return `${digits(value / 1e3, 3)}k`;
  if (size >= 99.95) return Math.round(value).toLocaleString("en-GB");
  return digits(value, size < 0.01 ? 1 : 3);
}

/** A whole number in full. */
export function count(value) {
  return value === null || value === undefined ? MISSING : Math.round(value).toLocaleString("en-GB");
}

/** A number and its unit apart, so that they can be set apart. */
export function split(value, unit) {
  if (value === null || value === undefined) return [MISSING, ""];
  if (unit === "ms") return value >= 999.5 ? [digits(value / 1e3, 3), "s"] : [number(value), "ms"];
  if (unit === "%") return [(value * 100).toLocaleString("en-GB", { maximumFractionDigits: 1 }), "%"];
  if (unit === "B") {
    const step = value < 1 ? 0 : Math.min(3, Math.floor(Math.log(value) / Math.log(1024)));
    return [digits(value / 1024 ** step, 3), ["B", "KiB", "MiB", "GiB"][step]];
  }
  return [number(value), unit];
}

/** A number with its unit. */
export function amount(value, unit) {
  const [text, of] = split(value, unit);
  return of ? `${text} ${of}` : text;
}

/** Seconds as days, hours, minutes. */
export function duration(seconds) {
  const parts = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([size]) => seconds >= size);
  if (first < 0) return "0 s";
  let rest = seconds;
  return parts.slice(first, first + 2).flatMap(([size, unit]) => {
    const whole = Math.floor(rest / size);
    rest -= whole * size;
    return whole > 0 ? [`${whole} ${unit}`] : [];
  }).join(" ");
}

/** The time of day, on this reader's clock. */
export function clock(at_ms, seconds = true) {
  const second = seconds ? { second: "2-digit" } : {};
  return new Date(at_ms).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", ...second });
}
