//! Charts as SVG, drawn here: lines over two axes, and bars of parts. They are
//! plain files that show themselves in light and dark.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
/// Of the first line of names, and of each further one.
const NAMES_TOP: f64 = 24.0;
const NAMES_LINE: f64 = 16.0;
/// Names that are written; a chart of more is for who looks at its shape.
const NAMES_MAX: usize = 12;
const BOTTOM: f64 = 48.0;
/// Series that are told apart by colour; further ones take them again.
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#b59f00"];
const STYLE: &str = "text{font:12px sans-serif;fill:#222}.t{font-size:15px}\
line,.f{stroke:#888;stroke-width:.5;fill:none}.s{fill:none;stroke-width:2}\
.b{fill:#fff}@media(prefers-color-scheme:dark){text{fill:#ddd}.b{fill:#1b1b1b}}";

pub struct Axis {
    pub label: &'static str,
    /// By powers of ten.
    pub logarithmic: bool,
    pub from_zero: bool,
}

pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// Lines through points, which are marked if they are few. Nothing, if there is
/// nothing to draw.
pub fn lines(title: &str, x: &Axis, y: &Axis, series: &[Series]) -> Option<String> {
    let points = || series.iter().flat_map(|series| &series.points);
    let across = Scale::of(points().map(|point| point.0), x, (LEFT, WIDTH - RIGHT))?;
    let names: Vec<&str> = series.iter().map(|series| series.name.as_str()).collect();
    let Legend { top, text } = legend(&names);
    let up = Scale::of(points().map(|point| point.1), y, (HEIGHT - BOTTOM, top))?;
    let mut svg = begin(title, HEIGHT) + &text;
    for tick in across.ticks() {
        let (at, label) = (across.place(tick), short(tick));
        let _ = write!(
            svg,
            r#"<line x1="{at:.1}" y1="{top}" x2="{at:.1}" y2="{:.1}"/><text x="{at:.1}" y="{:.1}" text-anchor="middle">{label}</text>"#,
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 16.0
        );
    }
    for tick in up.ticks() {
        let (at, label) = (up.place(tick), short(tick));
        let _ = write!(
            svg,
            r#"<line x1="{LEFT}" y1="{at:.1}" x2="{:.1}" y2="{at:.1}"/><text x="{:.1}" y="{:.1}" text-anchor="end">{label}</text>"#,
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0
        );
    }
    let _ = write!(
        svg,
        r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{}</text><text x="14" y="{:.1}" text-anchor="middle" transform="rotate(-90 14 {:.1})">{}</text>"#,
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 10.0,
        x.label,
        (top + HEIGHT - BOTTOM) / 2.0,
        (top + HEIGHT - BOTTOM) / 2.0,
        y.label
    );
    for (number, series) in series.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let mut path = String::new();
        for (x, y) in &series.points {
            let _ = write!(path, "{:.1},{:.1} ", across.place(*x), up.place(*y));
        }
        let _ =
            write!(svg, r#"<polyline class="s" stroke="{colour}" points="{}"/>"#, path.trim_end());
        for (x, y) in series.points.iter().filter(|_| series.points.len() <= 24) {
            let (x, y) = (across.place(*x), up.place(*y));
            let _ = write!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#);
        }
    }
    svg += "</svg>\n";
    Some(svg)
}

/// One bar a row, made of parts in the order of `parts`.
pub fn bars(
    title: &str,
    unit: &str,
    parts: &[&str],
    rows: &[(String, Vec<f64>)],
) -> Option<String> {
    const BAR: f64 = 22.0;
    const NAMES: f64 = 220.0;
    let longest = rows.iter().map(|(_, values)| values.iter().sum()).fold(0.0, f64::max);
    if longest <= 0.0 {
        return None;
    }
    let Legend { top: first, text } = legend(parts);
    let height = first + rows.len() as f64 * (BAR + 8.0) + 16.0;
    let mut svg = begin(title, height) + &text;
    for (number, (name, values)) in rows.iter().enumerate() {
        let top = first + 8.0 + number as f64 * (BAR + 8.0);
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            NAMES - 6.0,
            top + 15.0,
            escaped(name)
        );
        let mut left = NAMES;
        for (part, value) in values.iter().enumerate() {
            let width = value / longest * (WIDTH - NAMES - 90.0);
            let colour = COLOURS[part % COLOURS.len()];
            let _ = write!(
                svg,
                r#"<rect x="{left:.1}" y="{top:.1}" width="{width:.1}" height="{BAR}" fill="{colour}"/>"#
            );
            left += width;
        }
        let sum: f64 = values.iter().sum();
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{:.1}">{} {unit}</text>"#,
            left + 6.0,
            top + 15.0,
            short(sum)
        );
    }
    svg += "</svg>\n";
    Some(svg)
}

fn begin(title: &str, height: f64) -> String {
    let title = escaped(title);
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"><title>{title}</title><style>{STYLE}</style><rect class="b" width="{WIDTH}" height="{height}"/><text class="t" x="{LEFT}" y="16">{title}</text>"#
    )
}

/// Names with their colours, in as many lines as they need, and where the drawing
/// begins below them.
struct Legend {
    top: f64,
    text: String,
}

fn legend(names: &[&str]) -> Legend {
    let (mut left, mut top, mut text) = (LEFT, NAMES_TOP, String::new());
    let named = names.iter().enumerate().filter(|(_, name)| !name.is_empty());
    for (number, name) in named.take(NAMES_MAX) {
        // About what a character takes in the font of the charts.
        let width = 30.0 + name.chars().count() as f64 * 6.6;
        if left > LEFT && left + width > WIDTH - RIGHT {
            (left, top) = (LEFT, top + NAMES_LINE);
        }
        let _ = write!(
            text,
            r#"<rect x="{left:.1}" y="{top}" width="10" height="10" fill="{}"/><text x="{:.1}" y="{}">{}</text>"#,
            COLOURS[number % COLOURS.len()],
            left + 14.0,
            top + 9.0,
            escaped(name)
        );
        left += width;
    }
    Legend { top: top + NAMES_LINE, text }
}

/// From values to places on the drawing.
struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
    place: (f64, f64),
}

impl Scale {
    fn of(values: impl Iterator<Item = f64>, axis: &Axis, place: (f64, f64)) -> Option<Scale> {
        let logarithmic = axis.logarithmic;
        let drawable = |value: &f64| value.is_finite() && (!logarithmic || *value > 0.0);
        let values: Vec<f64> = values.filter(drawable).collect();
        let mut low = values.iter().copied().reduce(f64::min)?;
        let mut high = values.iter().copied().reduce(f64::max)?;
        if axis.from_zero && !logarithmic {
            low = low.min(0.0);
        }
        if high <= low {
            (low, high) = if logarithmic { (low / 2.0, low * 2.0) } else { (low, low + 1.0) };
        } else if !logarithmic {
            high += (high - low) * 0.05;
        }
        Some(Scale { low, high, logarithmic, place })
    }

    fn place(&self, value: f64) -> f64 {
        let share = match self.logarithmic {
            true => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        self.place.0 + share.clamp(0.0, 1.0) * (self.place.1 - self.place.0)
    }

    /// Round numbers on the axis.
    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
            let ticks = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|n| n * 10_f64.powi(decade)));
            return ticks.filter(|tick| (self.low..=self.high).contains(tick)).collect();
        }
        let rough = (self.high - self.low) / 6.0;
        let power = 10_f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|n| n * power);
        let step = steps.into_iter().find(|step| *step >= rough).unwrap_or(power * 10.0);
        let first = (self.low / step).ceil();
        (0..12).map(|n| (first + f64::from(n)) * step).take_while(|at| *at <= self.high).collect()
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 1.0 => {
            format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').into()
        }
        _ => format!("{value:.3}").trim_end_matches('0').into(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const AXIS: Axis = Axis { label: "x", logarithmic: false, from_zero: true };

    #[test]
    fn points_are_where_the_axes_say() {
        let scale = Scale::of([0.0, 95.0].into_iter(), &AXIS, (0.0, 100.0)).unwrap();
        assert!((scale.place(0.0), scale.ticks()[0]) == (0.0, 0.0));
        assert!((scale.place(99.75) - 100.0).abs() < 1e-9);
        let axis = Axis { logarithmic: true, ..AXIS };
        let scale = Scale::of([1.0, 100.0].into_iter(), &axis, (0.0, 100.0)).unwrap();
        assert!((scale.place(10.0) - 50.0).abs() < 1e-9);
        assert_eq!(scale.ticks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
    }

    #[test]
    fn names_stay_on_the_drawing() {
        let names = ["clients=1, batch_wait_ms=20"; 4];
        let Legend { top, text } = legend(&names);
        assert_eq!(top, NAMES_TOP + 2.0 * NAMES_LINE);
        assert_eq!(text.matches(&format!("<rect x=\"{LEFT:.1}\"")).count(), 2, "{text}");
        assert_eq!(legend(&[""]).text, "");
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert_eq!(lines("t", &AXIS, &AXIS, &[]), None);
        assert_eq!(bars("t", "ms", &["a"], &[("r".into(), vec![0.0])]), None);
        let series = [Series { name: "a < b".into(), points: vec![(1.0, 2.0)] }];
        let svg = lines("t & u", &AXIS, &AXIS, &series).unwrap();
        assert!(svg.contains("t &amp; u") && svg.contains("a &lt; b") && svg.contains("<circle"));
    }
}
