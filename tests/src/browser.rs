//! A real browser with one page, as a person would see it: Chromium without a
//! window, told what to do in its own protocol (Chrome DevTools) over a pipe. So
//! there is no port, no driver and no library between a test and it.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

const PROGRAM: &str = "chromium";
const FLAGS: [&str; 12] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
];
/// The browser reads commands from descriptor 3 and answers on 4; a shell makes
/// those of the two that a child can be given.
const PIPES: &str = r#"exec "$@" 3<&0 4>&1 0</dev/null 1>&2"#;

/// How long a test waits for what it expects to see.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Browser {
    child: Child,
    commands: ChildStdin,
    heard: Arc<Mutex<Heard>>,
    last_id: u64,
    session: Value,
    _profile: TempDir,
}

#[derive(Default)]
struct Heard {
    waiting: HashMap<u64, oneshot::Sender<Value>>,
    /// What the browser said without being asked.
    events: Vec<Value>,
}

impl Browser {
    /// Opens a page.
    ///
    /// # Panics
    ///
    /// If there is no browser; `cargo xtask test --slow` gets one.
    pub async fn open(url: &str) -> Browser {
        let profile = tempfile::tempdir().expect("there is room for a profile");
        let mut child = Command::new("sh")
            .args(["-c", PIPES, "sh", PROGRAM])
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("there is a shell");
        let commands = child.stdin.take().expect("it is piped");
        let answers = child.stdout.take().expect("it is piped");
        let heard = Arc::<Mutex<Heard>>::default();
        tokio::spawn(listen(answers, heard.clone()));
        let mut browser =
            Browser { child, commands, heard, last_id: 0, session: Value::Null, _profile: profile };
        let target = browser.tell("Target.createTarget", json!({ "url": "about:blank" })).await;
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session = browser.tell("Target.attachToTarget", target).await["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.tell(&format!("{domain}.enable"), json!({})).await;
        }
        browser.go(url).await;
        browser
    }

    /// Loads a page in place of the present one.
    pub async fn go(&mut self, url: &str) {
        let went = self.tell("Page.navigate", json!({ "url": url })).await;
        assert_eq!(went["errorText"], Value::Null, "{url}");
        self.until("document.readyState === 'complete'").await;
    }

    /// What an expression is worth in the page; a promise is waited for.
    pub async fn value(&mut self, expression: &str) -> Value {
        let asked =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let said = self.tell("Runtime.evaluate", asked).await;
        assert_eq!(said["exceptionDetails"], Value::Null, "{expression}");
        said["result"]["value"].clone()
    }

    /// Waits until an expression is true in the page.
    pub async fn until(&mut self, expression: &str) {
        let looking = format!(
            "new Promise((seen) => {{ const look = () => ({expression}) ? seen(true) : setTimeout(look, 20); look(); }})"
        );
        if timeout(PATIENCE, self.value(&looking)).await.is_err() {
            let page = self.value("document.body.innerText").await;
            panic!("never was `{expression}` in\n{}", page.as_str().unwrap_or_default());
        }
    }

    /// Presses a key and lets it go.
    pub async fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            let event = json!({ "type": kind, "key": key, "code": key });
            self.tell("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Types into what has the focus.
    pub async fn write(&mut self, text: &str) {
        self.tell("Input.insertText", json!({ "text": text })).await;
    }

    /// What the reader's system asks pages for: `light` or `dark`.
    pub async fn theme(&mut self, name: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": name }]);
        self.tell("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// The window, in CSS pixels.
    pub async fn size(&mut self, width: u32, height: u32) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.tell("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// The whole page, below the window's end as well, as a PNG file.
    pub async fn picture(&mut self, file: &Path) {
        let asked = json!({ "captureBeyondViewport": true });
        let picture = self.tell("Page.captureScreenshot", asked).await;
        let data = picture["data"].as_str().expect("there is a picture");
        let data = STANDARD.decode(data).expect("it is base64");
        std::fs::write(file, data).expect("the file can be written");
    }

    /// What the page complained of: errors that it did not catch, what its console
    /// and the browser's log hold that is worse than a word.
    pub fn complaints(&self) -> Vec<Value> {
        let worse = |level: &Value| matches!(level.as_str(), Some("error" | "warning" | "assert"));
        self.events(|event| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => worse(&event["params"]["type"]),
            Some("Log.entryAdded") => worse(&event["params"]["entry"]["level"]),
            _ => false,
        })
    }

    /// The addresses that were asked for.
    pub fn asked(&self) -> Vec<String> {
        let events = self.events(|event| event["method"] == "Network.requestWillBeSent");
        let url = |event: &Value| event["params"]["request"]["url"].as_str().map(String::from);
        events.iter().filter_map(url).collect()
    }

    /// Ends it.
    pub async fn close(mut self) {
        self.session = Value::Null;
        self.tell("Browser.close", json!({})).await;
        let ended = timeout(PATIENCE, self.child.wait()).await;
        ended.expect("the browser ends").expect("it can be waited for");
    }

    fn events(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let heard = self.heard.lock().expect("nobody panics with the lock");
        heard.events.iter().filter(|event| wanted(event)).cloned().collect()
    }

    async fn tell(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let mut command = json!({ "id": self.last_id, "method": method, "params": params });
        if self.session.is_string() {
            command["sessionId"] = self.session.clone();
        }
        let (answer, answered) = oneshot::channel();
        self.heard.lock().expect("nobody panics").waiting.insert(self.last_id, answer);
        let mut command = command.to_string();
        command.push('\0');
        let sent = self.commands.write_all(command.as_bytes()).await;
        sent.unwrap_or_else(|error| panic!("{PROGRAM} does not run ({error}); is it installed?"));
        let answer = answered.await;
        let answer = answer.unwrap_or_else(|_| panic!("{PROGRAM} ended; is it installed?"));
        assert_eq!(answer["error"], Value::Null, "{method}");
        answer["result"].clone()
    }
}

/// Hands out answers and keeps events, until the browser ends.
async fn listen(answers: ChildStdout, heard: Arc<Mutex<Heard>>) {
    let mut answers = BufReader::new(answers).split(0);
    while let Ok(Some(said)) = answers.next_segment().await {
        let said: Value = serde_json::from_slice(&said).expect("the browser speaks JSON");
        let mut heard = heard.lock().expect("nobody panics with the lock");
        match said["id"].as_u64() {
            // Who asked may have lost patience.
            Some(id) => _ = heard.waiting.remove(&id).map(|waiting| waiting.send(said)),
            None => heard.events.push(said),
        }
    }
    heard.lock().expect("nobody panics with the lock").waiting.clear();
}
