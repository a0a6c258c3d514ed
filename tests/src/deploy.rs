//! What is in `deploy/`, for the tests that hold it to the server.

use serde_json::Value;

use crate::fixtures::repository;

/// A panel that shows something.
#[derive(Debug)]
pub struct Panel {
    pub title: String,
    pub queries: Vec<String>,
}

/// The dashboard as it would be imported.
pub fn dashboard() -> Value {
    let text = std::fs::read_to_string(repository("deploy/grafana/maitred.json"))
        .expect("the dashboard is in the repository");
    serde_json::from_str(&text).expect("the dashboard is JSON")
}

/// Its panels, without the rows that divide them.
pub fn panels() -> Vec<Panel> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("a dashboard has panels").iter();
    let shown = panels.filter(|panel| panel["type"] != "row");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let panel = |panel: &Value| Panel {
        title: text(&panel["title"]),
        queries: panel["targets"].as_array().map_or(Vec::new(), |targets| {
            targets.iter().map(|target| text(&target["expr"])).collect()
        }),
    };
    shown.map(panel).collect()
}
