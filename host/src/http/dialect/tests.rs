//! Fixtures: a request's JSON and what it is decoded to, or the error's text;
//! an answer and the JSON it is encoded to.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value as Json, json};

use super::cohere::Version::{V1, V2};
use super::*;
use crate::rerank::{Field, Report, Stage, Value};
use crate::route::{Scored, Scores};

const BOUNDS: Bounds = Bounds { documents_max: 4, fields_max: 3 };

fn envelope() -> Envelope {
    Envelope { request_id: Arc::from("id-1"), priority: None, timeout: None }
}

fn decode(dialect: Dialect, body: &str) -> Result<Call, Problem> {
    dialect.decode(&Object::body(body.as_bytes())?, &envelope(), &BOUNDS)
}

/// A call in one line: what differs from the defaults is said.
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
    let mut said = format!("{:?} [{}]", ask.query, documents.join(", "));
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

fn check_decode(dialect: Dialect, body: &str, expected: &str) {
    let call = decode(dialect, body).unwrap_or_else(|problem| panic!("{body}: {problem:?}"));
    assert_eq!(summary(&call), expected, "{body}");
}

fn check_refused(dialect: Dialect, body: &str, status: u16, text: &str) {
    let problem = match decode(dialect, body) {
        Err(problem) => problem,
        Ok(call) => panic!("{body} was taken for {}", summary(&call)),
    };
    let status_is = problem.status(Some(dialect));
    assert_eq!(
        (problem.text("id-1").as_str(), status_is),
        (text, StatusCode::from_u16(status).unwrap()),
        "{body}"
    );
}

#[test]
fn tei_requests() {
    let check = |body, expected| check_decode(Dialect::Tei, body, expected);
    check(r#"{"query":"q","texts":["a","b"]}"#, r#""q" ["a", "b"]"#);
    check(
        r#"{"query":"q","texts":["a"],"truncate":null,"raw_scores":false,"return_text":false,"truncation_direction":"Right"}"#,
        r#""q" ["a"]"#,
    );
    check(
        r#"{"query":"q","texts":["a"],"truncate":false,"raw_scores":true,"truncation_direction":"right"}"#,
        r#""q" ["a"] logits truncate false"#,
    );
    check(r#"{"query":"q","texts":["a"],"truncate":true}"#, r#""q" ["a"] truncate true"#);
    // What a foreign client sends on top does no harm, not even a wrong type.
    check(r#"{"query":"q","texts":["a"],"is_truncated":"yes","model":7}"#, r#""q" ["a"]"#);
    // The last of two members counts; escapes and other scripts survive.
    check(
        r#"{"query":"x","query":"\u00e9\n\ud83d\ude00","texts":["漢字\t"]}"#,
        "\"é\\n😀\" [\"漢字\\t\"]",
    );
    // Empty texts are texts. Metadata is read as everywhere.
    check(r#"{"query":"q","texts":["",{"text":"t","fields":{"n":1}}]}"#, r#""q" ["", "t" n=1]"#);
}

#[test]
fn cohere_requests() {
    let check = |body, expected| {
        check_decode(Dialect::Cohere(V1), body, expected);
        check_decode(Dialect::Cohere(V2), body, expected);
    };
    check(r#"{"query":"q","documents":["a"]}"#, r#""q" ["a"]"#);
    check(
        r#"{"model":"rerank-v3.5","query":"q","documents":["a","b"],"top_n":1,"return_documents":true,"max_tokens_per_doc":4096,"priority":0}"#,
        r#""q" ["a", "b"] top 1 for rerank-v3.5"#,
    );
    check(
        r#"{"query":"q","documents":["a"],"top_n":null,"model":null,"rank_fields":null,"max_chunks_per_doc":10}"#,
        r#""q" ["a"]"#,
    );
    check(r#"{"query":"q","documents":["a"],"priority":999}"#, r#""q" ["a"] Low"#);
    check(
        r#"{"query":"q","documents":[{"text":"a","year":1999,"price":2.5,"new":true}]}"#,
        r#""q" ["a" year=1999 price=2.5 new=true]"#,
    );
    check(
        r#"{"query":"q","documents":[{"text":"a","fields":{"tags":["x","y"],"none":null},"no":null}]}"#,
        r#""q" ["a" tags=["x", "y"]]"#,
    );
    // Integers beyond 64 bits are numbers; what has no type of ours is its JSON.
    check(
        r#"{"query":"q","documents":[{"text":"a","big":18446744073709551616,"deep":{"a":[1]}}]}"#,
        r#""q" ["a" big=1.8446744073709552e19 deep="{\"a\":[1]}"]"#,
    );
    // The text is the named fields' values, a line each, in the order named.
    check(
        r#"{"query":"q","documents":[{"title":"T","text":"b","year":7},"plain",{"title":"only"}],"rank_fields":["title","year","text"]}"#,
        r#""q" ["T\n7\nb" title="T" year=7, "plain", "only" title="only"]"#,
    );
    check(r#"{"query":"q","documents":[]}"#, r#""q" []"#);
}

#[test]
fn bodies_that_are_no_request() {
    let check = |body: &str, text: &str| {
        check_refused(Dialect::Tei, body, 400, text);
        check_refused(Dialect::Cohere(V2), body, 400, text);
    };
    check("", "the body is not JSON: EOF while parsing a value at line 1 column 0");
    check("{\"query\": \"q\",}", "the body is not JSON: key must be a string at line 1 column 15");
    check("{} {}", "the body is not JSON: trailing characters at line 1 column 4");
    check("[1]", "the body must be a JSON object; found a list");
    check("null", "the body must be a JSON object; found null");
    check("\"q\"", "the body must be a JSON object; found a string");
    check("12", "the body must be a JSON object; found the number 12");
    let not_utf8 = Object::body(b"{\"query\":\"\xff\"}").unwrap_err();
    assert!(not_utf8.text("id-1").starts_with("the body is not JSON: "), "{not_utf8:?}");
}

#[test]
fn bad_tei_requests() {
    let check = |body, status, text| check_refused(Dialect::Tei, body, status, text);
    check(r#"{"texts":["a"]}"#, 422, "`query` is missing");
    check(r#"{"query":null,"texts":["a"]}"#, 422, "`query` is missing");
    check(r#"{"query":["q"],"texts":["a"]}"#, 422, "`query`: expected a string, found a list");
    check(r#"{"query":" ","texts":["a"]}"#, 400, "`query` is empty");
    check(r#"{"query":"q"}"#, 422, "`texts` is missing");
    check(r#"{"query":"q","texts":[]}"#, 400, "`texts` is empty");
    check(r#"{"query":"q","texts":"a"}"#, 422, "`texts`: expected a list, found a string");
    check(
        r#"{"query":"q","texts":["a",3]}"#,
        422,
        "`texts[1]`: expected a string or an object with a \"text\" field, found the number 3",
    );
    check(
        r#"{"query":"q","texts":["a"],"raw_scores":1}"#,
        422,
        "`raw_scores`: expected true or false, found the number 1",
    );
    check(
        r#"{"query":"q","texts":["a"],"truncate":"yes"}"#,
        422,
        "`truncate`: expected true or false, found a string",
    );
    check(
        r#"{"query":"q","texts":["a"],"return_text":[]}"#,
        422,
        "`return_text`: expected true or false, found a list",
    );
    check(
        r#"{"query":"q","texts":["a"],"truncation_direction":"Left"}"#,
        422,
        "`truncation_direction` is \"Left\"; only \"Right\" is supported",
    );
    check(
        r#"{"query":"q","texts":["a"],"truncation_direction":"Up"}"#,
        422,
        "`truncation_direction` is \"Up\"; it must be \"Right\"",
    );
    check(
        r#"{"query":"q","texts":["1","2","3","4","5","6"]}"#,
        413,
        "the number of documents is 6, over the limit of 4",
    );
    check(
        r#"{"query":"\ud800","texts":["a"]}"#,
        422,
        "`query`: unexpected end of hex escape at line 1 column 8",
    );
}

#[test]
fn bad_cohere_requests() {
    let check = |body, status, text| check_refused(Dialect::Cohere(V1), body, status, text);
    check(r#"{"documents":["a"]}"#, 400, "`query` is missing");
    check(
        r#"{"query":5,"documents":["a"]}"#,
        400,
        "`query`: expected a string, found the number 5",
    );
    check(r#"{"query":"q"}"#, 400, "`documents` is missing");
    check(r#"{"query":"q","documents":null}"#, 400, "`documents` is missing");
    check(
        r#"{"query":"q","documents":{"text":"a"}}"#,
        400,
        "`documents`: expected a list, found an object",
    );
    check(
        r#"{"query":"q","documents":["a","b","c",4]}"#,
        400,
        "`documents[3]`: expected a string or an object with a \"text\" field, found the number 4",
    );
    check(
        r#"{"query":"q","documents":[null]}"#,
        400,
        "`documents[0]`: expected a string or an object with a \"text\" field, found null",
    );
    check(
        r#"{"query":"q","documents":[["a"]]}"#,
        400,
        "`documents[0]`: expected a string or an object with a \"text\" field, found a list",
    );
    check(
        r#"{"query":"q","documents":[{"title":"a"}]}"#,
        400,
        "`documents[0]`: expected a string or an object with a \"text\" field, found an object without one",
    );
    check(
        r#"{"query":"q","documents":[{"text":1}]}"#,
        400,
        "`documents[0].text`: expected a string, found the number 1",
    );
    check(
        r#"{"query":"q","documents":["a","b","c","d","e"]}"#,
        413,
        "the number of documents is 5, over the limit of 4",
    );
    check(
        r#"{"query":"q","documents":["a"],"top_n":0}"#,
        400,
        "`top_n`: expected an integer from 1, found the number 0",
    );
    check(
        r#"{"query":"q","documents":["a"],"top_n":-3}"#,
        400,
        "`top_n`: expected an integer from 1, found the number -3",
    );
    check(
        r#"{"query":"q","documents":["a"],"top_n":2.5}"#,
        400,
        "`top_n`: expected an integer from 1, found the number 2.5",
    );
    check(
        r#"{"query":"q","documents":["a"],"top_n":"3"}"#,
        400,
        "`top_n`: expected an integer from 1, found a string",
    );
    check(
        r#"{"query":"q","documents":["a"],"top_n":99999999999}"#,
        400,
        "`top_n`: expected an integer from 1, found the number 99999999999",
    );
    check(
        r#"{"query":"q","documents":["a"],"priority":1000}"#,
        400,
        "`priority`: expected an integer from 0 to 999, found the number 1000",
    );
    check(
        r#"{"query":"q","documents":["a"],"priority":"high"}"#,
        400,
        "`priority`: expected an integer from 0 to 999, found a string",
    );
    check(
        r#"{"query":"q","documents":["a"],"return_documents":"true"}"#,
        400,
        "`return_documents`: expected true or false, found a string",
    );
    check(
        r#"{"query":"q","documents":["a"],"model":{}}"#,
        400,
        "`model`: expected a string, found an object",
    );
    check(
        r#"{"query":"q","documents":["a"],"max_tokens_per_doc":0}"#,
        400,
        "`max_tokens_per_doc`: expected an integer from 1, found the number 0",
    );
    check(
        r#"{"query":"q","documents":["a"],"max_chunks_per_doc":false}"#,
        400,
        "`max_chunks_per_doc`: expected an integer from 1, found false",
    );
    check(
        r#"{"query":"q","documents":["a"],"rank_fields":"title"}"#,
        400,
        "`rank_fields`: expected a list, found a string",
    );
    check(
        r#"{"query":"q","documents":["a"],"rank_fields":["title",2]}"#,
        400,
        "`rank_fields[1]`: expected a string, found the number 2",
    );
    check(
        r#"{"query":"q","documents":["a"],"rank_fields":["1","2","3","4"]}"#,
        413,
        "the number of `rank_fields` is 4, over the limit of 3",
    );
    check(
        r#"{"query":"q","documents":["a",{"text":"b"}],"rank_fields":["title","body"]}"#,
        400,
        "`documents[1]` has none of the `rank_fields` `title`, `body`",
    );
    check(
        r#"{"query":"q","documents":[{"text":"b","fields":[1]}]}"#,
        400,
        "`documents[0].fields`: expected an object with the document's metadata, found a list",
    );
    check(
        r#"{"query":"q","documents":[{"text":"b","fields":{"by":{"name":"x"}}}]}"#,
        400,
        "`documents[0].fields.by`: expected a string, a number, a boolean or a list of strings, found an object",
    );
    check(
        r#"{"query":"q","documents":[{"text":"b","x":1e999}]}"#,
        400,
        "`documents[0].x`: number out of range at line 1 column 5",
    );
    check(
        r#"{"query":"q","documents":[{"text":"b","1":1,"2":2,"fields":{"3":3,"4":4}}]}"#,
        413,
        "the number of fields of a document is 4, over the limit of 3",
    );
}

#[test]
fn a_shared_path_tells_by_the_documents_name() {
    let recognise = |body: &str| {
        Dialect::recognise(&Object::body(body.as_bytes()).unwrap())
            .map_err(|problem| (problem.status(None).as_u16(), problem.text("id-1")))
    };
    assert_eq!(recognise(r#"{"texts":[]}"#), Ok(Dialect::Tei));
    assert_eq!(recognise(r#"{"documents":[]}"#), Ok(Dialect::Cohere(V1)));
    let (status, both) = recognise(r#"{"texts":[],"documents":[]}"#).unwrap_err();
    assert!(status == 400 && both.starts_with("the body has both"), "{both}");
    let (status, neither) = recognise(r#"{"texts":null}"#).unwrap_err();
    assert!(status == 400 && neither.starts_with("the body has neither"), "{neither}");
}

#[test]
fn the_head_wins_over_the_body() {
    let envelope = Envelope {
        priority: Some(Priority::High),
        timeout: Some(Duration::from_millis(70)),
        ..envelope()
    };
    let body = br#"{"query":"q","documents":["a"],"priority":5}"#;
    let object = Object::body(body).unwrap();
    let call = Dialect::Cohere(V2).decode(&object, &envelope, &BOUNDS).unwrap();
    assert_eq!(call.ask.priority, Priority::High);
    assert_eq!(call.ask.timeout, Some(Duration::from_millis(70)));
    assert_eq!(&*call.ask.request_id, "id-1");
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
        report,
        took: Duration::from_millis(40),
    }
}

fn encode(dialect: Dialect, request: &str, answer: &Answer) -> (String, Vec<(&'static str, u64)>) {
    let encoded = decode(dialect, request).unwrap().reply.encode(&Served {
        answer,
        request_id: "id-1",
        length_max: 512,
    });
    (String::from_utf8(encoded.body).unwrap(), encoded.headers)
}

#[test]
fn tei_answers() {
    let check = |request, answer: &Answer, expected: &str| {
        let (body, headers) = encode(Dialect::Tei, request, answer);
        assert_eq!(body, expected);
        headers
    };
    let headers = check(
        r#"{"query":"héé","texts":["a","漢字","c"]}"#,
        &answer(&[(2, 0.9), (0, 0.1), (1, 1e-7)]),
        r#"[{"index":2,"score":0.9},{"index":0,"score":0.1},{"index":1,"score":1e-7}]"#,
    );
    assert_eq!(
        headers,
        [
            ("x-compute-time", 40),
            ("x-compute-characters", 13),
            ("x-compute-tokens", 120),
            ("x-total-time", 40),
            ("x-tokenization-time", 1),
            ("x-queue-time", 5),
            ("x-inference-time", 31),
        ]
    );
    check(
        r#"{"query":"q","texts":["a","\"b\"\n"],"return_text":true,"raw_scores":true}"#,
        &answer(&[(1, -3.25)]),
        r#"[{"index":1,"text":"\"b\"\n","score":-3.25}]"#,
    );
    check(r#"{"query":"q","texts":["a"]}"#, &answer(&[]), "[]");
}

#[test]
fn cohere_answers() {
    let check = |version, request: &str, answer: &Answer, results: Json, meta: Json| {
        let (body, headers) = encode(Dialect::Cohere(version), request, answer);
        let body: Json = serde_json::from_str(&body).unwrap();
        assert_eq!(body, json!({"id": "id-1", "results": results, "meta": meta}));
        assert!(headers.is_empty());
    };
    let meta = |version: &str| {
        json!({
            "api_version": {"version": version},
            "billed_units": {"search_units": 1},
            "tokens": {"input_tokens": 120},
        })
    };
    let warned = |texts: &[&str]| {
        let mut meta = meta("1");
        meta["warnings"] = json!(texts);
        meta
    };
    check(
        V2,
        r#"{"query":"q","documents":["a","b"],"model":"m"}"#,
        &answer(&[(1, 0.75), (0, 0.5)]),
        json!([{"index": 1, "relevance_score": 0.75}, {"index": 0, "relevance_score": 0.5}]),
        meta("2"),
    );
    check(
        V1,
        r#"{"query":"q","documents":["a",{"text":"b","year":1e2}],"return_documents":true}"#,
        &answer(&[(1, 0.75), (0, 0.5)]),
        json!([
            {"index": 1, "relevance_score": 0.75, "document": {"text": "b", "year": 1e2}},
            {"index": 0, "relevance_score": 0.5, "document": {"text": "a"}},
        ]),
        meta("1"),
    );
    check(
        V1,
        r#"{"query":"q","documents":["a"],"max_chunks_per_doc":10,"max_tokens_per_doc":511}"#,
        &answer(&[]),
        json!([]),
        warned(&[
            "`max_chunks_per_doc` (10) has no effect: documents are not cut into chunks",
            "`max_tokens_per_doc` (511) was not applied: only pairs longer than the model's 512 tokens are truncated",
        ]),
    );
    check(
        V1,
        r#"{"query":"q","documents":["a"],"max_tokens_per_doc":512}"#,
        &answer(&[]),
        json!([]),
        meta("1"),
    );
    let mut odd = answer(&[]);
    odd.report.add_pairs(0, 0, 2);
    odd.report.set_bypassed();
    odd.order_only = true;
    check(
        V1,
        r#"{"query":"q","documents":["a"]}"#,
        &odd,
        json!([]),
        warned(&[
            "2 of 3 pairs were longer than the model's 512 tokens and were truncated",
            "a policy failed; this is the ranking of the model alone",
            "only the order means something: the scores are evenly spaced ranks",
        ]),
    );
}

#[test]
fn searches_are_billed_by_the_hundred() {
    let units = |documents: usize| {
        let texts = vec!["d"; documents];
        let body = json!({"query": "q", "documents": texts}).to_string();
        let bounds = Bounds { documents_max: 1000, ..BOUNDS };
        let object = Object::body(body.as_bytes()).unwrap();
        let call = Dialect::Cohere(V2).decode(&object, &envelope(), &bounds).unwrap();
        let encoded = call.reply.encode(&Served {
            answer: &answer(&[]),
            request_id: "id-1",
            length_max: 512,
        });
        let body: Json = serde_json::from_slice(&encoded.body).unwrap();
        body["meta"]["billed_units"]["search_units"].as_u64().unwrap()
    };
    assert_eq!([1, 100, 101, 1000].map(units), [1, 1, 2, 10]);
}

#[test]
fn every_error_has_a_status_and_each_dialect_its_body() {
    use crate::rerank::Error;
    let retry = Duration::from_millis(1200);
    let cohere = Some(Dialect::Cohere(V2));
    let check = |problem: Problem, status: [u16; 2], tei_type: &str, retry_s: Option<u64>| {
        assert_eq!(problem.status(Some(Dialect::Tei)).as_u16(), status[0]);
        assert_eq!(problem.status(cohere).as_u16(), status[1]);
        assert_eq!(problem.retry_after_s(), retry_s, "{problem:?}");
        let text = problem.text("id-1");
        let body =
            |dialect| -> Json { serde_json::from_slice(&problem.body(dialect, "id-1")).unwrap() };
        let tei = json!({"error": text, "error_type": tei_type});
        assert_eq!(body(Some(Dialect::Tei)), tei);
        assert_eq!(body(cohere), json!({"message": text}));
        let either = json!({"message": text, "error": text, "error_type": tei_type});
        assert_eq!(body(None), either);
    };
    let domain = Problem::Domain;
    check(Problem::Malformed("m".into()), [400, 400], "Validation", None);
    check(Problem::Empty("e".into()), [400, 400], "Empty", None);
    check(Problem::Header("h".into()), [400, 400], "Validation", None);
    check(Problem::BodyBroken, [400, 400], "Validation", None);
    check(Problem::BodySlow { limit: retry }, [408, 408], "Validation", None);
    let large = Problem::BodyTooLarge { value: None, limit: 9 };
    check(large, [413, 413], "Validation", None);
    check(Problem::MediaType("t".into()), [415, 415], "Validation", None);
    check(Problem::NoEndpoint("n".into()), [404, 404], "Validation", None);
    check(domain(Error::Invalid("i".into())), [422, 400], "Validation", None);
    let large = Error::TooLarge { what: "it", value: 2, limit: 1 };
    check(domain(large), [413, 413], "Validation", None);
    check(domain(Error::NotFound("n".into())), [404, 404], "Validation", None);
    check(domain(Error::Denied("d".into())), [403, 403], "Validation", None);
    let full = Error::Overloaded { retry_after: retry };
    check(domain(full), [429, 429], "Overloaded", Some(2));
    let full = Error::Overloaded { retry_after: Duration::ZERO };
    check(domain(full), [429, 429], "Overloaded", Some(1));
    check(domain(Error::DeadlineExceeded), [504, 504], "Backend", None);
    let failed = Error::PolicyFailed { policy: Arc::from("p"), reason: "trapped".into() };
    check(domain(failed), [502, 502], "Backend", None);
    let down =
        Error::Unavailable { reason: "no replica".into(), retry_after: Duration::from_secs(3) };
    check(domain(down), [503, 503], "Unhealthy", Some(3));
    check(domain(Error::Internal("secret".into())), [500, 500], "Backend", None);
    assert!(!domain(Error::Internal("secret".into())).text("id-1").contains("secret"));
}
