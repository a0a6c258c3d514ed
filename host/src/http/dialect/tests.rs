//! Walks over `fixtures`: a folder for each dialect, in it files of cases (one, or
//! a list of them). A case is a request and what it is decoded to, or the error;
//! and answers with what they are encoded to. Each is also held against the
//! schemas of `/openapi.json`.

mod schema;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};

use self::schema::Schemas;
use super::family::Flavour::{Cohere, Shared};
use super::family::Version::{V1, V2};
use super::*;
use crate::config::{Filtered, Raw, ServerSettings, check};
use crate::http::errors::Timeout;
use crate::http::openapi;
use crate::http::router::RERANK;
use crate::rerank::{Field, Report, Stage, Value};
use crate::route::Scored;

const BOUNDS: Bounds = Bounds { documents_max: 4, fields_max: 3 };

/// The folder of the path that TEI and the others share.
const BY_BODY: &str = "by-body";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// The request's body, or `raw` if that is no JSON.
    request: Option<Box<RawValue>>,
    raw: Option<String>,
    /// The dialect that it is recognised as, if not the folder's.
    dialect: Option<String>,
    /// What the edge is asked, as `summary` says it.
    ask: Option<String>,
    error: Option<Refused>,
    #[serde(default)]
    answers: Vec<Answered>,
    /// Why the schema thinks otherwise of the request than the decoder.
    schema: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    status: u16,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    /// Index and score.
    results: Vec<(u32, f32)>,
    #[serde(default)]
    truncated: u64,
    #[serde(default)]
    bypassed: bool,
    #[serde(default)]
    order_only: bool,
    body: Json,
    #[serde(default)]
    headers: BTreeMap<String, u64>,
}

fn envelope() -> Envelope {
    Envelope { request_id: Arc::from("id-1"), priority: None, timeout: None }
}

fn decode(
    path: Option<Dialect>,
    body: &[u8],
) -> Result<(Dialect, Call), (Option<Dialect>, Problem)> {
    let object = Object::body(body, KNOWN).map_err(|problem| (path, problem))?;
    let dialect = Dialect::recognise(path, &object).map_err(|problem| (path, problem))?;
    let call = dialect.decode(&object, &envelope(), &BOUNDS);
    call.map(|call| (dialect, call)).map_err(|problem| (Some(dialect), problem))
}

/// An ask in one line: what differs from the defaults is said.
fn summary(call: &Call) -> String {
    let ask = &call.ask;
    let documents: Vec<_> = ask
        .documents
        .iter()
        .map(|document| {
            let fields = document.fields.iter().map(field).collect::<String>();
            format!("{:?}{fields}", document.text)
        })
        .collect();
    let query = match &ask.query {
        Queries::One(query) => format!("{query:?}"),
        Queries::Each(queries) => format!("{queries:?}"),
    };
    let mut said = format!("{query} [{}]", documents.join(", "));
    let mut say = |what: String| said.push_str(&format!(" {what}"));
    if ask.scores == Scores::Logit {
        say("logits".into());
    }
    if let Some(n) = ask.top_n {
        say(format!("top {n}"));
    }
    if let Some(truncate) = ask.truncate {
        say(format!("truncate {truncate}"));
    }
    let lengths = [
        (ask.lengths.query_max, "query"),
        (ask.lengths.document_max, "document"),
        (ask.lengths.pair_max, "pair"),
    ];
    for (limit, of) in lengths {
        if let Some(tokens) = limit {
            say(format!("{of} to {tokens}"));
        }
    }
    match ask.filtered {
        Some(Filtered::Last) => say("every document".into()),
        Some(Filtered::Omit) => say("no filtered document".into()),
        None => {}
    }
    if ask.priority != Priority::Normal {
        say(format!("{:?}", ask.priority));
    }
    if let Some(model) = &call.model {
        say(format!("for {model}"));
    }
    said
}

fn field(field: &Field) -> String {
    let value = match &field.value {
        Value::Text(text) => format!("{text:?}"),
        Value::Integer(integer) => format!("{integer}"),
        Value::Number(number) => format!("{number:?}"),
        Value::Boolean(boolean) => format!("{boolean}"),
        Value::Texts(texts) => format!("{texts:?}"),
    };
    format!(" {}={value}", field.name)
}

fn answer(results: &[(u32, f32)]) -> Answer {
    let report = Report::default();
    report.add_pairs(3, 120, 0);
    report.add_time(Stage::Tokenize, Duration::from_micros(1900));
    report.add_time(Stage::Queue, Duration::from_millis(5));
    report.add_time(Stage::Inference, Duration::from_millis(31));
    let scored = |&(index, score)| Scored { index, score };
    Answer {
        results: results.iter().map(scored).collect(),
        model: Arc::from("m"),
        route: Arc::from("r"),
        chain: Arc::from("m@0123456789ab"),
        order_only: false,
        filtered: 0,
        report: Arc::new(report),
        took: Duration::from_millis(40),
    }
}

fn encode(call: &Call, answer: &Answer) -> (Json, BTreeMap<String, u64>) {
    let served = Served { answer, request_id: "id-1", length_max: 512, created_s: 1_700_000_000 };
    let encoded = call.reply.encode(&served);
    let headers = encoded.headers.into_iter().map(|(name, value)| (name.to_owned(), value));
    (serde_json::from_slice(&encoded.body).unwrap(), headers.collect())
}

/// What `/openapi.json` says of one path.
struct Described<'a> {
    schemas: Schemas<'a>,
    operation: &'a Json,
}

impl<'a> Described<'a> {
    fn of(document: &'a Json, path: &str) -> Self {
        let operation = &document["paths"][path]["post"];
        Described { schemas: Schemas { document }, operation }
    }

    fn requests(&self, body: &Json) -> bool {
        self.is_valid(&self.operation["requestBody"], body)
    }

    fn answers(&self, status: u16, body: &Json) -> bool {
        self.is_valid(&self.operation["responses"][status.to_string()], body)
    }

    fn is_valid(&self, at: &Json, body: &Json) -> bool {
        self.schemas.is_valid(&at["content"]["application/json"]["schema"], body)
    }
}

fn settings() -> ServerSettings {
    let settings = check(&mut Raw::default()).unwrap().server;
    ServerSettings {
        documents_max: BOUNDS.documents_max,
        fields_max: BOUNDS.fields_max,
        ..settings
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/dialect/fixtures")
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn every_fixture_is_decoded_and_encoded_as_it_says() {
    let document = openapi::document(&settings());
    let (mut folders, mut faults) = (Vec::new(), Vec::new());
    for folder in sorted(&fixtures()) {
        let folder_name = name(&folder);
        let named =
            |dialect: Option<Dialect>| dialect.map_or(BY_BODY, Dialect::name) == folder_name;
        let (path, dialect) = RERANK.into_iter().find(|(_, dialect)| named(*dialect)).unwrap();
        let described = Described::of(&document, path);
        for file in sorted(&folder) {
            let text = std::fs::read_to_string(&file).unwrap();
            let cases: Result<Vec<Case>, _> = match text.starts_with('[') {
                true => serde_json::from_str(&text),
                false => serde_json::from_str(&text).map(|case| vec![case]),
            };
            let cases = cases.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            for (place, case) in cases.iter().enumerate() {
                if let Err(fault) = check_case(dialect, case, &described) {
                    faults.push(format!("{folder_name}/{} [{place}]: {fault}", name(&file)));
                }
            }
        }
        folders.push(folder_name.to_owned());
    }
    for (path, dialect) in RERANK {
        let name = dialect.map_or(BY_BODY, Dialect::name);
        assert!(folders.iter().any(|folder| folder == name), "{path} has no fixtures");
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn check_case(path: Option<Dialect>, case: &Case, described: &Described<'_>) -> Result<(), String> {
    let body = match (&case.request, &case.raw) {
        (Some(request), None) => request.get(),
        (None, Some(raw)) => raw.as_str(),
        _ => return Err("a case has either `request` or `raw`".into()),
    };
    let decoded = decode(path, body.as_bytes());
    if let Ok(json) = serde_json::from_str::<Json>(body) {
        let agrees = described.requests(&json) == decoded.is_ok();
        same("what the schema thinks as well", agrees, case.schema.is_none())?;
    }
    let (dialect, call) = match (decoded, &case.error) {
        (Ok(decoded), None) => decoded,
        (Err((dialect, problem)), Some(error)) => {
            same("the status", problem.status(dialect).as_u16(), error.status)?;
            same("the text", problem.text("id-1"), error.text.clone())?;
            let body = serde_json::from_slice(&problem.body(dialect, "id-1")).unwrap();
            return same("the schema of refusals", described.answers(error.status, &body), true);
        }
        (Ok((_, call)), Some(_)) => return Err(format!("was taken for {}", summary(&call))),
        (Err((_, problem)), None) => return Err(format!("{problem:?}")),
    };
    let expected = path.map_or(BY_BODY, Dialect::name);
    same("the dialect", dialect.name(), case.dialect.as_deref().unwrap_or(expected))?;
    if let Some(ask) = &case.ask {
        same("the ask", &summary(&call), ask)?;
    }
    for given in &case.answers {
        let mut answer = answer(&given.results);
        answer.report.add_pairs(0, 0, given.truncated);
        answer.order_only = given.order_only;
        if given.bypassed {
            answer.report.set_bypassed();
        }
        let (body, headers) = encode(&call, &answer);
        same("the body", &body, &given.body)?;
        same("the headers", &headers, &given.headers)?;
        same("the schema of answers", described.answers(200, &body), true)?;
    }
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), String> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what} is {found:?}, expected {expected:?}")),
    }
}

#[test]
fn a_body_that_is_not_utf_8_is_not_json() {
    let problem = Object::body(b"{\"query\":\"\xff\"}", KNOWN).unwrap_err();
    assert!(problem.text("id-1").starts_with("the body is not JSON: "), "{problem:?}");
}

/// A body of nothing but members makes us hold none of them.
#[test]
fn members_beyond_those_of_use_are_only_counted() {
    const MANY: usize = 10_000;
    let some = r#""":1,"query":"q","x":null,"#.repeat(MANY);
    let body = format!(r#"{{{some}"documents":["a"]}}"#);
    let object = Object::body(body.as_bytes(), KNOWN).unwrap();
    assert_eq!((object.members().count(), object.others()), (2, MANY));
    let call = Dialect::Family(Shared(V1)).decode(&object, &envelope(), &BOUNDS).unwrap();
    assert_eq!(summary(&call), r#""q" ["a"]"#);

    let keep = object::Keep { known: &["text"], others_max: 3 };
    let raw = format!(r#"{{{}"text":"t","a":2}}"#, r#""x":1,"n":null,"#.repeat(MANY));
    let raw: &RawValue = serde_json::from_str(&raw).unwrap();
    let object = Object::nested("documents[0]", raw, keep).unwrap();
    let kept: Vec<_> = object.members().map(|(name, _)| name).collect();
    assert_eq!((kept, object.others()), (vec!["x", "x", "x", "text"], MANY + 1));
    let many = r#""x":1,"#.repeat(MANY);
    for document in [
        format!(r#"{{{many}"text":"t"}}"#),
        format!(r#"{{{many}"fields":{{}}}}"#),
        format!(r#"{{"text":"t","fields":{{{many}"x":null}}}}"#),
    ] {
        let body = format!(r#"{{"query":"q","documents":[{document}]}}"#);
        let (_, problem) = decode(Some(Dialect::Family(Shared(V1))), body.as_bytes()).unwrap_err();
        let text = "the number of fields of a document is 10000, over the limit of 3";
        assert_eq!(problem.text(""), text);
    }
}

#[test]
fn the_head_wins_over_the_body() {
    let envelope = Envelope {
        priority: Some(Priority::High),
        timeout: Some(Duration::from_millis(70)),
        ..envelope()
    };
    let body = br#"{"query":"q","documents":["a"],"priority":5}"#;
    let object = Object::body(body, KNOWN).unwrap();
    let call = Dialect::Family(Cohere(V2)).decode(&object, &envelope, &BOUNDS).unwrap();
    assert_eq!(call.ask.priority, Priority::High);
    assert_eq!(call.ask.timeout, Some(Duration::from_millis(70)));
    assert_eq!(&*call.ask.request_id, "id-1");
}

#[test]
fn searches_are_billed_by_the_hundred() {
    let units = |documents: usize| {
        let texts = vec!["d"; documents];
        let body = json!({"query": "q", "documents": texts}).to_string();
        let bounds = Bounds { documents_max: 1000, ..BOUNDS };
        let object = Object::body(body.as_bytes(), KNOWN).unwrap();
        let dialect = Dialect::Family(Shared(V1));
        let call = dialect.decode(&object, &envelope(), &bounds).unwrap();
        let (body, _) = encode(&call, &answer(&[]));
        body["meta"]["billed_units"]["search_units"].as_u64().unwrap()
    };
    assert_eq!([1, 100, 101, 1000].map(units), [1, 1, 2, 10]);
}

#[test]
fn every_error_has_a_status_and_each_dialect_its_body() {
    use crate::rerank::Error;
    let retry = Duration::from_millis(1200);
    let family = |flavour| Some(Dialect::Family(flavour));
    let check = |problem: Problem, status: [u16; 2], tei_type: &str, fault: &str, retry_s| {
        let [tei_status, status] = status;
        assert_eq!(problem.status(Some(Dialect::Tei)).as_u16(), tei_status);
        assert_eq!(problem.retry_after_s(), retry_s, "{problem:?}");
        let text = problem.text("id-1");
        let check = |dialect: Option<Dialect>, expected: Json| {
            if dialect != Some(Dialect::Tei) {
                assert_eq!(problem.status(dialect).as_u16(), status, "{problem:?}");
            }
            let body: Json = serde_json::from_slice(&problem.body(dialect, "id-1")).unwrap();
            assert_eq!(body, expected);
        };
        check(Some(Dialect::Tei), json!({"error": text, "error_type": tei_type}));
        check(family(Cohere(V2)), json!({"message": text}));
        check(family(family::Flavour::Jina), json!({"detail": text}));
        check(Some(Dialect::Voyage), json!({"detail": text}));
        check(family(Shared(V1)), json!({"message": text, "detail": text}));
        let error = json!({"message": text, "type": fault, "param": null, "code": status});
        check(family(family::Flavour::Vllm), json!({"error": error}));
        check(family(family::Flavour::Infinity), json!({"error": error}));
        check(Some(Dialect::Score), json!({"error": error}));
        let any = json!({"message": text, "detail": text, "error": text, "error_type": tei_type});
        check(None, any);
    };
    let domain = Problem::Domain;
    let bad = "BadRequestError";
    check(Problem::Malformed("m".into()), [400, 400], "Validation", bad, None);
    check(Problem::Empty("e".into()), [400, 400], "Empty", bad, None);
    check(Problem::Header("h".into()), [400, 400], "Validation", bad, None);
    check(Problem::BodyBroken, [400, 400], "Validation", bad, None);
    check(Problem::BodySlow { limit: retry }, [408, 408], "Validation", bad, None);
    let large = Problem::BodyTooLarge { value: None, limit: 9 };
    check(large, [413, 413], "Validation", bad, None);
    check(Problem::MediaType("t".into()), [415, 415], "Validation", bad, None);
    check(Problem::NoEndpoint("n".into()), [404, 404], "Validation", "NotFoundError", None);
    check(domain(Error::Invalid("i".into())), [422, 400], "Validation", bad, None);
    let large = Error::TooLarge { what: "it", value: 2, limit: 1 };
    check(domain(large), [413, 413], "Validation", bad, None);
    check(domain(Error::NotFound("n".into())), [404, 404], "Validation", "NotFoundError", None);
    check(
        domain(Error::Denied("d".into())),
        [403, 403],
        "Validation",
        "PermissionDeniedError",
        None,
    );
    let full = Error::Overloaded { retry_after: retry };
    check(domain(full), [429, 429], "Overloaded", "RateLimitError", Some(2));
    let full = Error::Overloaded { retry_after: Duration::ZERO };
    check(domain(full), [429, 429], "Overloaded", "RateLimitError", Some(1));
    let full = Problem::BodiesFull { bytes_max: 9, retry_after: retry };
    check(full, [429, 429], "Overloaded", "RateLimitError", Some(2));
    let server = "InternalServerError";
    check(domain(Error::DeadlineExceeded), [504, 504], "Backend", server, None);
    check(Problem::Late(Timeout::Client(retry)), [504, 504], "Backend", server, None);
    let failed = Error::PolicyFailed { policy: Arc::from("p"), reason: "trapped".into() };
    check(domain(failed), [502, 502], "Backend", server, None);
    let down =
        Error::Unavailable { reason: "no replica".into(), retry_after: Duration::from_secs(3) };
    check(domain(down), [503, 503], "Unhealthy", "ServiceUnavailableError", Some(3));
    check(domain(Error::Internal("secret".into())), [500, 500], "Backend", server, None);
    assert!(!domain(Error::Internal("secret".into())).text("id-1").contains("secret"));
}
