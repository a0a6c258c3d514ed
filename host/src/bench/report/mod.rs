//! A report in Markdown, with charts, made of records and of nothing else. Its
//! sections are those of the reports that this project grew out of, so that they
//! can be laid side by side; what those got wrong has a definition here.

mod chart;
mod charts;
mod sections;
mod server;
mod table;

use std::path::{Path, PathBuf};

use anyhow::Context;

use self::table::{NOT_MEASURED, Table, number, text};
use super::diff::{Comparison, Line};
use super::record::{Record, groups};

const DEFINITIONS: &str = include_str!("definitions.md");

pub struct Report {
    pub markdown: String,
    /// File names and SVG.
    pub charts: Vec<(String, String)>,
}

impl Report {
    /// Of the records of one benchmark; `name` begins the charts' file names.
    pub fn of(records: &[Record], name: &str) -> Report {
        let groups = groups(records);
        let mut charts = Vec::new();
        let mut parts = vec![sections::head(records), sections::summary(&groups)];
        parts.push("## Detailed Metrics".into());
        let drawn = [
            ("latency", charts::latency(&groups)),
            ("throughput", charts::throughput(&groups)),
            ("load", charts::load(&groups)),
            ("stages", charts::stages(&groups)),
        ];
        let mut image = |kind: &str| -> String {
            let svg = drawn.iter().find(|(name, _)| *name == kind).and_then(|(_, svg)| svg.clone());
            let Some(svg) = svg else { return String::new() };
            let file = format!("{name}-{kind}.svg");
            charts.push((file.clone(), svg));
            format!("![{kind}]({file})")
        };
        parts.push(image("latency"));
        parts.push(image("throughput"));
        parts.extend(groups.iter().enumerate().map(|(n, group)| sections::details(n + 1, group)));
        parts.push(sections::against(&groups));
        parts.push(image("load"));
        parts.push(sections::overall(&groups));
        parts.push(sections::outcomes(&groups));
        parts.push(sections::verification(&groups));
        parts.push(server::dashboard(&groups));
        parts.push(server::stage_timing(&groups));
        parts.push(image("stages"));
        parts.push(server::replicas(&groups));
        parts.push(sections::windows(records));
        parts.push(server::series(&groups));
        parts.push(DEFINITIONS.trim_end().to_owned());
        parts.retain(|part| !part.is_empty());
        Report { markdown: parts.join("\n\n") + "\n", charts }
    }

    /// Writes the report to `path` and its charts beside it.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let folder = path.parent().map(PathBuf::from).unwrap_or_default();
        let charts = self.charts.iter().map(|(name, svg)| (folder.join(name), svg.as_str()));
        for (path, text) in charts.chain([(path.to_owned(), self.markdown.as_str())]) {
            std::fs::write(&path, text)
                .with_context(|| format!("failed to write {}", path.display()))?;
        }
        Ok(())
    }
}

/// What is different, as tables.
pub fn comparison(comparisons: &[Comparison]) -> String {
    let mut text = String::new();
    for Comparison { a, b, lines } in comparisons {
        let name =
            |name: &str| if name.is_empty() { "the only variant".into() } else { name.to_owned() };
        text += &format!("### A: {}, B: {}\n\n", name(a), name(b));
        let mut table =
            Table::new(&["figure", "A", "B", "B by A", "95 % interval", "window pairs", ""]);
        for line in lines {
            table.row(&compared(line));
        }
        text += &table.finish();
        text.push('\n');
    }
    text + "Ratios are geometric means over windows of the same repeat, their intervals by bootstrap over those pairs; an interval that holds 1 shows no difference.\n"
}

fn compared(line: &Line) -> [String; 7] {
    let interval = match line.interval {
        Some(interval) => format!("{:.3} to {:.3}", interval.low, interval.high),
        None => NOT_MEASURED.into(),
    };
    let verdict = match line.interval {
        Some(_) if line.is_sure() => "different",
        Some(_) => "no difference shown",
        None => "",
    };
    [
        line.what.into(),
        number(line.a, 2),
        number(line.b, 2),
        number(line.ratio, 3),
        interval,
        line.pairs.to_string(),
        text(Some(verdict)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::tests::window;

    #[test]
    fn a_report_has_the_sections_of_its_ancestors_and_never_a_0_for_nothing() {
        let records = [window("clients=1", 0, 10), window("clients=2", 0, 20)];
        let report = Report::of(&records, "sweep");
        for section in [
            "# a test",
            "## Results Summary",
            "## Detailed Metrics",
            "#### Latency (ms)",
            "#### Throughput (pairs/s)",
            "## Latency against Throughput",
            "## Overall Summary",
            "## Dashboard Metrics Summary",
            "## Stage Timing",
            "## Worker (replica) Metrics",
            "## Dashboard Time-Series Data",
            "## Definitions",
        ] {
            assert!(report.markdown.contains(section), "no {section} in\n{}", report.markdown);
        }
        for line in ["| GPU Memory (MB) | n/a | n/a |", "| Queue Wait (ms) | n/a | n/a |"] {
            assert!(report.markdown.contains(line), "no {line} in\n{}", report.markdown);
        }
        let charts: Vec<_> = report.charts.iter().map(|(name, _)| &**name).collect();
        assert_eq!(charts, ["sweep-latency.svg", "sweep-throughput.svg", "sweep-load.svg"]);
        assert!(charts.iter().all(|name| report.markdown.contains(name)));
    }

    #[test]
    fn a_comparison_says_what_is_sure() {
        let of = |name, took| -> Vec<_> { (0..4).map(|n| window(name, n, took)).collect() };
        let comparisons = crate::bench::diff::compare(&of("x", 20), &of("x", 10), None).unwrap();
        let text = comparison(&comparisons);
        let line = "| pairs/s | 200.00 | 400.00 | 2.000 | 2.000 to 2.000 | 4 | different |";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("| server memory, MB | n/a | n/a | n/a | n/a | 0 |  |"), "{text}");
    }
}
