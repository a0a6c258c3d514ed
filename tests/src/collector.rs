//! A collector of traces, as OpenTelemetry's: it takes what comes by OTLP over HTTP,
//! and shows it as trees.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::fake::{Request, request};

/// How long a test waits for spans.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Collector {
    pub address: SocketAddr,
    spans: watch::Receiver<Vec<Seen>>,
}

/// A span as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub name: String,
    /// 32 hexadecimal digits.
    pub trace: String,
    /// 16 hexadecimal digits.
    pub id: String,
    /// Empty where a trace begins.
    pub parent: String,
    pub state: String,
    pub attributes: BTreeMap<String, String>,
    /// What it failed with.
    pub error: Option<String>,
    pub began_ns: u64,
    pub ended_ns: u64,
    /// `service.name` and the others, of whoever sent it.
    pub resource: BTreeMap<String, String>,
}

impl Collector {
    pub async fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (add, spans) = watch::channel(Vec::new());
        let add = Arc::new(add);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let add = add.clone();
                // A server that ends closes its connection with an error, or not.
                tokio::spawn(async move {
                    let _ = take(stream, &add).await;
                });
            }
        });
        Collector { address, spans }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has come so far.
    pub fn spans(&self) -> Vec<Seen> {
        self.spans.borrow().clone()
    }

    /// Waits for the whole of a trace, which is there when its first span is: that
    /// one ends last.
    ///
    /// # Panics
    ///
    /// If it does not come.
    pub async fn trace(&self, trace: &str) -> Vec<Seen> {
        let mut spans = self.spans.clone();
        let whole = |spans: &Vec<Seen>| {
            spans.iter().any(|span| span.trace == trace && span.name == "request")
        };
        let came = timeout(PATIENCE, spans.wait_for(whole)).await.is_ok();
        let spans = self.spans();
        assert!(came, "no request of the trace {trace} is in {spans:#?}");
        spans.into_iter().filter(|span| span.trace == trace).collect()
    }
}

async fn take(stream: TcpStream, add: &watch::Sender<Vec<Seen>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(Request { path, body, .. }) = request(&mut stream).await? {
        assert_eq!(path, "/v1/traces");
        let message = ExportTraceServiceRequest::decode(&*body).expect("it is OTLP");
        let mut seen = Vec::new();
        for of_resource in message.resource_spans {
            let resource = of_resource.resource.map(|r| named(r.attributes)).unwrap_or_default();
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            seen.extend(spans.map(|span| Seen::of(span, &resource)));
        }
        add.send_modify(|spans| spans.extend(seen));
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
    }
    Ok(())
}

impl Seen {
    fn of(span: Span, resource: &BTreeMap<String, String>) -> Seen {
        let failed = |status: &opentelemetry_proto::tonic::trace::v1::Status| {
            status.code == StatusCode::Error as i32
        };
        Seen {
            name: span.name,
            trace: hexadecimal(&span.trace_id),
            id: hexadecimal(&span.span_id),
            parent: hexadecimal(&span.parent_span_id),
            state: span.trace_state,
            attributes: named(span.attributes),
            error: span.status.filter(failed).map(|status| status.message),
            began_ns: span.start_time_unix_nano,
            ended_ns: span.end_time_unix_nano,
            resource: resource.clone(),
        }
    }

    /// The value of an attribute.
    ///
    /// # Panics
    ///
    /// If it does not have it.
    pub fn is(&self, key: &str) -> &str {
        let value = self.attributes.get(key);
        value.unwrap_or_else(|| panic!("no `{key}` is in {self:#?}"))
    }
}

fn named(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |attribute: KeyValue| {
        let value = match attribute.value.and_then(|value| value.value) {
            Some(Value::StringValue(text)) => text,
            Some(Value::IntValue(number)) => number.to_string(),
            Some(Value::BoolValue(flag)) => flag.to_string(),
            other => format!("{other:?}"),
        };
        (attribute.key, value)
    };
    attributes.into_iter().map(text).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The names of a trace's spans, each below its parent, in the order in which they
/// began.
///
/// # Panics
///
/// If a span is not within the time of its parent.
pub fn tree(spans: &[Seen]) -> String {
    let mut text = String::new();
    let known = |id: &str| spans.iter().any(|span| span.id == id);
    let roots: Vec<_> = spans.iter().filter(|span| !known(&span.parent)).collect();
    write(&mut text, spans, roots, 0);
    text
}

fn write(text: &mut String, all: &[Seen], mut spans: Vec<&Seen>, depth: usize) {
    spans.sort_by_key(|span| span.began_ns);
    for span in spans {
        writeln!(text, "{}{}", "  ".repeat(depth), span.name).expect("it is a string");
        let below: Vec<_> = all.iter().filter(|other| other.parent == span.id).collect();
        for other in &below {
            let within = span.began_ns <= other.began_ns && other.ended_ns <= span.ended_ns;
            assert!(within, "{other:#?} is not within {span:#?}");
        }
        write(text, all, below, depth + 1);
    }
}
