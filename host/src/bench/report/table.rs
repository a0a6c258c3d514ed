//! Tables in Markdown, and how figures are written in them: what was not
//! measured is `n/a`, and never 0.

use std::time::Duration;

use crate::bench::measure::ms;

pub const NOT_MEASURED: &str = "n/a";

pub struct Table {
    text: String,
    columns: usize,
}

impl Table {
    pub fn new(heads: &[&str]) -> Self {
        let line: String = heads.iter().map(|_| "---|").collect();
        Table { text: format!("| {} |\n|{line}\n", heads.join(" | ")), columns: heads.len() }
    }

    pub fn row(&mut self, cells: &[String]) {
        debug_assert_eq!(cells.len(), self.columns);
        let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        self.text += &format!("| {} |\n", cells.join(" | "));
    }

    pub fn finish(self) -> String {
        self.text
    }
}

/// With so many digits behind the point.
pub fn number(value: Option<f64>, digits: usize) -> String {
    match value {
        Some(value) if value.is_finite() => format!("{value:.digits$}"),
        _ => NOT_MEASURED.into(),
    }
}

pub fn percent(share: Option<f64>) -> String {
    number(share.map(|share| share * 100.0), 1)
}

/// In ms, without the unit.
pub fn millis(time: Option<Duration>) -> String {
    number(time.map(ms), 2)
}

pub fn megabytes(bytes: Option<u64>) -> String {
    number(bytes.map(|bytes| bytes as f64 / 1e6), 1)
}

pub fn text(value: Option<&str>) -> String {
    value.unwrap_or(NOT_MEASURED).to_owned()
}
