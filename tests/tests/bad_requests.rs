//! Requests that are wrong, in every way that clients and attackers have found:
//! each gets the one right status and words that name the fault, none is the
//! server's own failure, and none is noticed by the good request after it, on
//! its own connection where that stays open and on another one.

// A panic is the report.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use maitred_tests::fixtures::checkpoint;
use maitred_tests::server::TestServer;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Limits small enough to be reached, and a route with another name.
fn configuration() -> String {
    format!(
        r#"
        default_route = "plain"
        [server]
        body_bytes_max = 32768
        header_bytes_max = 8192
        documents_max = 8
        fields_max = 4
        read_ms_max = 1000
        [models.tiny]
        source = '{model}'
        replicas = 1
        [routes.plain]
        [routes.other]
        "#,
        model = checkpoint("tiny-bert").display(),
    )
}

/// Time after which a test calls an answer lost.
const LOST: Duration = Duration::from_secs(20);

struct Bad {
    /// Everything that the client sends.
    sends: Vec<u8>,
    /// Whether it says afterwards that it sends no more.
    ends: bool,
    status: u16,
    /// What the answer's body contains; nothing where the fault is found before
    /// there is a request that could have an answer of ours.
    says: &'static str,
    /// The members of the answer's body, where they are judged.
    shape: Option<Shape>,
}

impl Bad {
    fn shaped(self, shape: Shape) -> Bad {
        Bad { shape: Some(shape), ..self }
    }
}

fn bad(sends: impl Into<Vec<u8>>, status: u16, says: &'static str) -> Bad {
    Bad { sends: sends.into(), ends: false, status, says, shape: None }
}

/// The members of an error's body, in the order of the alphabet, by whose clients read
/// it: the table "Errors" of `docs/dialects.md`.
type Shape = &'static [&'static str];

const TEI: Shape = &["error", "error_type"];
const COHERE: Shape = &["message"];
const JINA_OR_VOYAGE: Shape = &["detail"];
const VLLM_OR_INFINITY: Shape = &["error.code", "error.message", "error.param", "error.type"];
const SHARED: Shape = &["detail", "message"];
/// Where nobody knows yet who asks.
const ANY: Shape = &["detail", "error", "error_type", "message"];

/// A request that HTTP itself does not allow. hyper answers those, with no body.
fn broken(sends: impl Into<Vec<u8>>) -> Bad {
    bad(sends, 400, "")
}

fn post(path: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

/// The head is written as it stands here.
fn raw(head: &str, body: &str) -> Vec<u8> {
    format!("{head}\r\n\r\n{body}").into()
}

/// A dialect and its path; what all share is asked of each. (`/score` calls its query
/// otherwise and has a list of its own.)
struct Dialect {
    path: &'static str,
    /// What its list of documents is called.
    documents: &'static str,
    /// The status of a body that is JSON, and wrong.
    invalid: u16,
    shape: Shape,
}

impl Dialect {
    /// Of the errors before the body is read: it may have to tell whose client asks.
    fn shape_unread(&self) -> Shape {
        if self.path == "/rerank" { ANY } else { self.shape }
    }
}

const DIALECTS: [Dialect; 12] = {
    const fn tei(path: &'static str) -> Dialect {
        Dialect { path, documents: "texts", invalid: 422, shape: TEI }
    }
    const fn family(path: &'static str, shape: Shape) -> Dialect {
        Dialect { path, documents: "documents", invalid: 400, shape }
    }
    [
        tei("/rerank"),
        tei("/tei/rerank"),
        family("/rerank", SHARED),
        family("/v1/rerank", SHARED),
        family("/v2/rerank", SHARED),
        family("/cohere/v1/rerank", COHERE),
        family("/cohere/v2/rerank", COHERE),
        family("/jina/v1/rerank", JINA_OR_VOYAGE),
        family("/voyage/v1/rerank", JINA_OR_VOYAGE),
        family("/vllm/rerank", VLLM_OR_INFINITY),
        family("/vllm/v2/rerank", VLLM_OR_INFINITY),
        family("/infinity/rerank", VLLM_OR_INFINITY),
    ]
};

const GOOD_TEI: &str = r#"{"query":"q","texts":["a"]}"#;
const GOOD: &str = r#"{"query":"q","documents":["a"]}"#;

/// Bodies that are no JSON object, whatever the dialect.
fn no_json() -> Vec<Bad> {
    let deep = "[".repeat(10_000);
    let bodies: [(&[u8], &str); 16] = [
        (b"", "the body is not JSON: EOF"),
        (b" ", "the body is not JSON: EOF"),
        (b"{", "the body is not JSON: EOF"),
        (b"query=q&texts=a", "the body is not JSON: expected"),
        (b"{'query':'q'}", "the body is not JSON: key must be a string"),
        (br#"{"query":"q","texts":["a"],}"#, "the body is not JSON: key must be a string"),
        (br#"{"query":"q","texts":["a"]}{}"#, "the body is not JSON: trailing characters"),
        (br#"{"query":"q","texts":["a"],"top_n":NaN}"#, "the body is not JSON: expected"),
        (
            br#"{"query":"q","texts":["a"],"top_n":-Infinity}"#,
            "the body is not JSON: invalid number",
        ),
        (b"{\"query\":\"a\xff\",\"texts\":[\"a\"]}", "the body is not JSON: invalid unicode"),
        (b"{\"query\":\"a\nb\",\"texts\":[\"a\"]}", "the body is not JSON: control character"),
        (b"\xef\xbb\xbf{}", "the body is not JSON: expected"),
        (b"[]", "the body must be a JSON object; found a list"),
        (br#""text""#, "the body must be a JSON object; found a string"),
        (b"null", "the body must be a JSON object; found null"),
        (deep.as_bytes(), "the body is not JSON: "),
    ];
    let mut paths: Vec<_> = DIALECTS.iter().map(|d| (d.path, d.shape_unread())).collect();
    paths.push(("/score", VLLM_OR_INFINITY));
    paths.sort_unstable();
    paths.dedup();
    let all = paths.iter().flat_map(|path| bodies.iter().map(move |case| (path, case)));
    all.map(|((path, shape), (body, says))| bad(post(path, "", body), 400, says).shaped(shape))
        .collect()
}

/// Bodies that are JSON objects, and wrong in what every dialect has.
fn wrong_in_all_dialects() -> Vec<Bad> {
    let deep = format!("[{}{}]", "[".repeat(5_000), "]".repeat(5_000));
    let nine = format!("[{}\"a\"]", "\"a\",".repeat(8));
    let mut all = Vec::new();
    for Dialect { path, documents, invalid, shape } in DIALECTS {
        let tei = invalid == 422;
        let empty = 400;
        let mut check = |body: String, status: u16, says: &'static str| {
            all.push(bad(post(path, "", body), status, says).shaped(shape));
        };
        let mut query = |query: &str, status: u16, says| {
            check(format!(r#"{{{query}"{documents}":["a"]}}"#), status, says);
        };
        query("", invalid, "`query` is missing");
        query(r#""query":null,"#, invalid, "`query` is missing");
        query(r#""query":7,"#, invalid, "`query`: expected a string, found the number 7");
        query(r#""query":["q"],"#, invalid, "`query`: expected a string, found a list");
        query(r#""query":{"text":"q"},"#, invalid, "`query`: expected a string, found an object");
        query(r#""query":"","#, empty, "`query` is empty");
        query(r#""query":" \t\n","#, empty, "`query` is empty");
        query(r#""query":"\ud800","#, invalid, "`query`: ");
        query(r#""query":"q","query":true,"#, invalid, "`query`: expected a string, found true");

        let mut list = |list: &str, status: u16, says| {
            check(format!(r#"{{"query":"q","{documents}":{list}}}"#), status, says);
        };
        list("[]", empty, if tei { "`texts` is empty" } else { "there are no documents to rank" });
        list("\"a\"", invalid, "expected a list, found a string");
        list("{\"0\":\"a\"}", invalid, "expected a list, found an object");
        list(
            "[1]",
            invalid,
            "[0]`: expected a string or an object with a \\\"text\\\" field, found the number 1",
        );
        list("[\"a\",null]", invalid, "[1]`: expected a string or an object");
        list("[[\"a\"]]", invalid, "[0]`: expected a string or an object");
        list(
            "[{}]",
            invalid,
            "[0]`: expected a string or an object with a \\\"text\\\" field, found an object without one",
        );
        list("[{\"text\":null}]", invalid, "found an object without one");
        list("[{\"text\":1}]", invalid, "[0].text`: expected a string, found the number 1");
        list("[\"\\udfff\"]", invalid, "[0]`: ");
        list(&deep, invalid, "[0]`: expected a string or an object");
        list(&nine, 413, "the number of documents is 9, over the limit of 8");
        list(
            "[{\"text\":\"a\",\"b\":1,\"c\":2,\"d\":3,\"e\":4,\"f\":5}]",
            413,
            "the number of fields of a document is 5, over the limit of 4",
        );
        list("[{\"text\":\"a\",\"price\":1e999}]", invalid, "[0].price`: number out of range");
        list("[{\"text\":\"a\",\"fields\":7}]", invalid, "[0].fields`: expected an object");
        list(
            "[{\"text\":\"a\",\"fields\":{\"a\":{}}}]",
            invalid,
            "[0].fields.a`: expected a string, a number, a boolean or a list of strings, found an object",
        );
    }
    let neither = "the body has neither `texts` (as TEI's clients send) nor";
    let both = "the body has both `texts` and `documents`";
    for (body, says) in [
        (r#"{"query":"q"}"#, neither),
        (r#"{"query":"q","texts":null}"#, neither),
        ("{}", neither),
        (r#"{"query":"q","texts":["a"],"documents":["a"]}"#, both),
    ] {
        all.push(bad(post("/rerank", "", body), 400, says).shaped(ANY));
    }
    let missing = "`documents` is missing";
    let null = r#"{"query":"q","documents":null}"#;
    all.push(bad(post("/v1/rerank", "", r#"{"query":"q"}"#), 400, missing).shaped(SHARED));
    all.push(bad(post("/v2/rerank", "", null), 400, missing).shaped(SHARED));
    all
}

/// What single members of a dialect's body may not be.
fn wrong_members() -> Vec<Bad> {
    let tei = |member: &str, says| {
        let body = format!(r#"{{"query":"q","texts":["a"],{member}}}"#);
        bad(post("/rerank", "", body), 422, says).shaped(TEI)
    };
    let cohere = |member: &str, status, says| {
        let body = format!(r#"{{"query":"q","documents":["a"],{member}}}"#);
        [
            bad(post("/v1/rerank", "", &body), status, says).shaped(SHARED),
            bad(post("/v2/rerank", "", &body), status, says).shaped(SHARED),
        ]
    };
    let mut all = vec![
        tei(r#""raw_scores":"true""#, "`raw_scores`: expected true or false, found a string"),
        tei(r#""raw_scores":1"#, "`raw_scores`: expected true or false, found the number 1"),
        tei(r#""return_text":[]"#, "`return_text`: expected true or false, found a list"),
        tei(r#""truncate":0"#, "`truncate`: expected true or false, found the number 0"),
        tei(r#""truncation_direction":"Up""#, "`truncation_direction` is \\\"Up\\\"; it must be"),
        tei(r#""truncation_direction":"Left""#, "`truncation_direction` is \\\"Left\\\"; only"),
        tei(r#""truncation_direction":5"#, "`truncation_direction`: expected a string"),
    ];
    let integer = "`top_n`: expected an integer from 1, found";
    for top_n in [
        "0",
        "-1",
        "-0",
        "1.5",
        "1e-2",
        "4294967296",
        "99999999999999999999999999999999999999",
        "\"3\"",
        "true",
        "[1]",
        "{}",
    ] {
        all.extend(cohere(&format!(r#""top_n":{top_n}"#), 400, integer));
    }
    let rest = [
        (r#""return_documents":"yes""#, 400, "`return_documents`: expected true or false"),
        (r#""model":7"#, 400, "`model`: expected a string, found the number 7"),
        (r#""model":"""#, 404, "no route or model is named ``"),
        (
            r#""model":"gpt""#,
            404,
            "no route or model is named `gpt`; the routes are `other`, `plain`",
        ),
        (r#""priority":"high""#, 400, "`priority`: expected an integer, found a string"),
        (r#""priority":0.5"#, 400, "`priority`: expected an integer, found the number 0.5"),
        (r#""max_tokens_per_doc":0"#, 400, "`max_tokens_per_doc`: expected an integer from 1"),
        (r#""max_chunks_per_doc":-5"#, 400, "`max_chunks_per_doc`: expected an integer from 1"),
        (r#""rank_fields":"title""#, 400, "`rank_fields`: expected a list, found a string"),
        (r#""rank_fields":[1]"#, 400, "`rank_fields[0]`: expected a string"),
        (r#""rank_fields":["a","a"]"#, 400, "`rank_fields[1]` names `a` a second time"),
        (
            r#""rank_fields":["a","b","c","d","e"]"#,
            413,
            "the number of `rank_fields` is 5, over the limit of 4",
        ),
    ];
    all.extend(rest.into_iter().flat_map(|(member, status, says)| cohere(member, status, says)));
    let titled = r#"{"query":"q","documents":[{"text":"a"}],"rank_fields":["title"]}"#;
    all.push(bad(
        post("/v1/rerank", "", titled),
        400,
        "`documents[0]` has none of the `rank_fields` `title`",
    ));
    all
}

/// What single members may not be in the dialects that have them.
fn wrong_members_elsewhere() -> Vec<Bad> {
    let member = |(path, shape): (&str, Shape), member: &str, says| {
        let body = format!(r#"{{"query":"q","documents":["a"],{member}}}"#);
        bad(post(path, "", body), 400, says).shaped(shape)
    };
    let jina = |text: &str, says| member(("/jina/v1/rerank", JINA_OR_VOYAGE), text, says);
    let voyage = |text: &str, says| member(("/voyage/v1/rerank", JINA_OR_VOYAGE), text, says);
    let vllm = |text: &str, says| member(("/vllm/rerank", VLLM_OR_INFINITY), text, says);
    let infinity = |text: &str, says| member(("/infinity/rerank", VLLM_OR_INFINITY), text, says);
    let cohere = |text: &str, says| member(("/cohere/v2/rerank", COHERE), text, says);
    vec![
        cohere(
            r#""priority":-1"#,
            "`priority`: expected an integer from 0 to 999, found the number -1",
        ),
        cohere(r#""priority":1000"#, "`priority`: expected an integer from 0 to 999"),
        cohere(r#""priority":"high""#, "`priority`: expected an integer from 0 to 999"),
        jina(r#""top_n":0"#, "`top_n`: expected an integer from 1, found the number 0"),
        jina(r#""top_n":-3"#, "`top_n`: expected an integer from 1, found the number -3"),
        jina(r#""max_doc_length":0"#, "`max_doc_length`: expected an integer from 1"),
        jina(r#""max_query_length":"8""#, "`max_query_length`: expected an integer from 1"),
        jina(r#""return_documents":"no""#, "`return_documents`: expected true or false"),
        bad(
            post("/jina/v1/rerank", "", r#"{"query":"q","documents":[{"image":"x"}]}"#),
            400,
            "`documents[0]` has `image` and no `text`",
        ),
        voyage(r#""top_k":0"#, "`top_k`: expected an integer from 1, found the number 0"),
        voyage(r#""top_k":99999999999999999999"#, "`top_k`: expected an integer from 1"),
        voyage(r#""truncation":"END""#, "`truncation`: expected true or false, found a string"),
        voyage(r#""return_documents":1"#, "`return_documents`: expected true or false"),
        voyage(r#""model":1"#, "`model`: expected a string, found the number 1"),
        // Voyage's clients alone send it there.
        member(
            ("/v1/rerank", JINA_OR_VOYAGE),
            r#""top_k":-1"#,
            "`top_k`: expected an integer from 1",
        ),
        vllm(r#""top_n":4294967296"#, "`top_n`: expected an integer, found"),
        vllm(
            r#""truncate_prompt_tokens":-2"#,
            "`truncate_prompt_tokens`: expected an integer from -1",
        ),
        vllm(r#""max_tokens_per_doc":-1"#, "`max_tokens_per_doc`: expected an integer from 0"),
        vllm(r#""max_tokens_per_query":1.5"#, "`max_tokens_per_query`: expected an integer from 0"),
        vllm(r#""use_activation":"no""#, "`use_activation`: expected true or false"),
        vllm(r#""truncation_side":"left""#, "only \\\"right\\\" is supported"),
        infinity(r#""raw_scores":1"#, "`raw_scores`: expected true or false, found the number 1"),
        infinity(r#""top_n":[]"#, "`top_n`: expected an integer from 1, found a list"),
    ]
}

/// Bodies of `/score`, which has three names for each of its two sides.
fn wrong_scores() -> Vec<Bad> {
    let sides = "the body must have `queries` and `documents` (or `items`)";
    let nine = format!(r#"{{"text_1":"q","text_2":[{}"a"]}}"#, r#""a","#.repeat(8));
    let cases = [
        ("{}", 400, sides),
        (r#"{"text_1":"q"}"#, 400, sides),
        (r#"{"text_1":"q","text_2":null}"#, 400, sides),
        (r#"{"text_1":"q","data_2":"a"}"#, 400, sides),
        (
            r#"{"text_1":"q","text_2":"a","data_1":"q","data_2":"a"}"#,
            400,
            "the body has both `text_1` with `text_2` and `data_1` with `data_2`",
        ),
        (
            r#"{"queries":["p","q"],"documents":["a","b","c"]}"#,
            400,
            "there are 2 queries and 3 documents; there must be one query, or as many as documents",
        ),
        (r#"{"text_1":[],"text_2":["a"]}"#, 400, "`text_1` is empty"),
        (r#"{"text_1":"q","text_2":[]}"#, 400, "`text_2` is empty"),
        (r#"{"text_1":["p",""],"text_2":["a","b"]}"#, 400, "`text_1[1]` is empty"),
        (r#"{"text_1":7,"text_2":"a"}"#, 400, "`text_1`: expected a string, found the number 7"),
        (r#"{"text_1":"q","text_2":["a",7]}"#, 400, "`text_2[1]`: expected a string"),
        (
            r#"{"queries":"q","documents":["a"],"truncate_prompt_tokens":0}"#,
            400,
            "`truncate_prompt_tokens`: expected -1 or an integer from 1, found the number 0",
        ),
        (
            r#"{"queries":"q","documents":["a"],"use_activation":0}"#,
            400,
            "`use_activation`: expected true or false, found the number 0",
        ),
        (nine.as_str(), 413, "the number of documents is 9, over the limit of 8"),
    ];
    let paths = ["/score", "/v1/score", "/vllm/score"];
    let all = paths.iter().flat_map(|path| cases.iter().map(move |case| (path, case)));
    all.map(|(path, (body, status, says))| {
        bad(post(path, "", body), *status, says).shaped(VLLM_OR_INFINITY)
    })
    .collect()
}

/// Paths, methods and headers.
fn wrong_heads() -> Vec<Bad> {
    let nothing = "nothing is at `";
    let at = |path: &str| bad(post(path, "", GOOD), 404, nothing).shaped(ANY);
    let method = |method: &str, path: &str| {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0");
        bad(raw(&head, ""), 405, if method == "HEAD" { "" } else { " is not allowed here; use" })
    };
    let header = |line: &str, status, says| bad(post("/v2/rerank", line, GOOD), status, says);
    let long_path = format!("/{}", "a".repeat(4000));
    let long_id = format!("x-request-id: {}\r\n", "a".repeat(129));
    vec![
        at("/"),
        at("/rerank/"),
        at("//rerank"),
        at("/v3/rerank"),
        at("/v1/rerank/../../metrics"),
        at("/metrics"),
        at("/routes"),
        at("/routes/plain"),
        at("/%72erank"),
        at(&long_path),
        bad(
            post("/routes/none/rerank", "", GOOD),
            404,
            "no route is named `none`; there are `other`, `plain`",
        ),
        bad(post("/routes//rerank", "", GOOD), 404, "no route is named ``"),
        bad(post("/routes/Plain/v2/rerank", "", GOOD), 404, "no route is named `Plain`"),
        bad(post("/health", "", ""), 405, "the method POST is not allowed here; use GET, HEAD"),
        method("GET", "/rerank"),
        method("PUT", "/v1/rerank"),
        method("DELETE", "/v2/rerank"),
        method("PATCH", "/rerank"),
        method("OPTIONS", "/rerank"),
        method("TRACE", "/rerank"),
        method("BREW", "/rerank"),
        method("post", "/rerank"),
        method("HEAD", "/rerank"),
        header(
            "content-type: text/plain\r\n",
            415,
            "the content type is \\\"text/plain\\\"; it must be application/json",
        ),
        header(
            "content-type: application/x-www-form-urlencoded\r\norigin: https://example.org\r\n",
            415,
            "it must be application/json",
        ),
        header(
            "content-type: multipart/form-data; boundary=x\r\n",
            415,
            "it must be application/json",
        ),
        header("content-type: application/jsonp\r\n", 415, "it must be application/json"),
        header("content-type:\r\n", 415, "the content type is \\\"\\\""),
        header("content-type: \u{fc}\r\n", 415, "it must be application/json"),
        header(
            "content-encoding: gzip\r\n",
            415,
            "the content encoding is \\\"gzip\\\"; bodies must not be encoded",
        ),
        header("content-encoding: identity, br\r\n", 415, "bodies must not be encoded"),
        header("x-maitred-timeout-ms: soon\r\n", 400, "`x-maitred-timeout-ms` is \\\"soon\\\""),
        header(
            "x-maitred-timeout-ms: -5\r\n",
            400,
            "it must be a whole number of milliseconds from 1",
        ),
        header(
            "x-maitred-timeout-ms: 99999999999999999999\r\n",
            400,
            "it must be a whole number of milliseconds",
        ),
        header(
            "x-maitred-timeout-ms: 5\r\nx-maitred-timeout-ms: 5000\r\n",
            400,
            "`x-maitred-timeout-ms` is there 2 times",
        ),
        header("x-maitred-priority: urgent\r\n", 400, "it must be low, normal or high"),
        header(
            "x-maitred-prioritty: low\r\n",
            400,
            "there is no header `x-maitred-prioritty`; did you mean",
        ),
        header(
            "x-request-id: a b\r\n",
            400,
            "`x-request-id` must be 1 to 128 visible ASCII characters",
        ),
        header(
            "x-request-id:\r\n",
            400,
            "`x-request-id` must be 1 to 128 visible ASCII characters; it has 0",
        ),
        header(&long_id, 400, "it has 129"),
        header("x-request-id: a\r\nx-request-id: b\r\n", 400, "`x-request-id` is there 2 times"),
        header("host: y\r\n", 400, "one `host` header; it has 2"),
        bad(
            raw("POST /v2/rerank HTTP/1.1\r\ncontent-length: 31", GOOD),
            400,
            "one `host` header; it has 0",
        ),
    ]
}

/// Bodies that are too large, or do not come as their head says.
fn wrong_bodies() -> Vec<Bad> {
    let large = format!(r#"{{"query":"q","documents":["{}"]}}"#, "x".repeat(33_000));
    let chunked = |chunks: &str| {
        raw("POST /v2/rerank HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked", chunks)
    };
    let head = |lines: &str| format!("POST /v2/rerank HTTP/1.1\r\nhost: x\r\n{lines}");
    let framed = "the body ended early or was framed wrongly";
    let cut = |sends: Vec<u8>| Bad { ends: true, ..bad(sends, 400, framed) };
    vec![
        bad(post("/v2/rerank", "", &large), 413, "over the limit of 32768"),
        bad(post("/rerank", "", &large), 413, "over the limit of 32768"),
        bad(
            raw(&head("content-length: 40000\r\nexpect: 100-continue"), ""),
            413,
            "the body is 40000 bytes long, over the limit of 32768",
        ),
        bad(
            chunked(&format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len())),
            413,
            "the body is over the limit of 32768 bytes",
        ),
        // Neither of them sends what it says.
        cut(raw(&head("content-length: 31"), "{\"query\"")),
        cut(chunked("9\r\n{\"query\"")),
        cut(chunked("9\r\n{\"query\":\r\n")),
        bad(
            raw(&head("content-length: 31"), "{\"query\""),
            408,
            "the body did not arrive within the limit of 1000 ms",
        ),
        bad(
            chunked("9\r\n{\"query\":\r\n"),
            408,
            "the body did not arrive within the limit of 1000 ms",
        ),
        bad(chunked("x\r\n{}\r\n0\r\n\r\n"), 400, framed),
        bad(chunked("-2\r\n{}\r\n0\r\n\r\n"), 400, framed),
        bad(chunked("0x2\r\n{}\r\n0\r\n\r\n"), 400, framed),
        bad(chunked("2 2\r\n{}\r\n0\r\n\r\n"), 400, framed),
        bad(chunked("\r\n{}\r\n0\r\n\r\n"), 400, framed),
        bad(chunked("fffffffffffffffff\r\n{}\r\n0\r\n\r\n"), 400, framed),
        bad(chunked("1\r\n{}\r\n0\r\n\r\n"), 400, framed),
        bad(chunked("2\n{}\r\n0\r\n\r\n"), 400, framed),
        bad(chunked("2\r\n{}\n0\r\n\r\n"), 400, framed),
        bad(chunked(&format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(20_000))), 400, framed),
        bad(chunked("2\r\n{}\r\n0\r\nsmuggled\r\n\r\n"), 400, framed),
    ]
}

/// Requests that HTTP itself forbids, most of them because two servers could
/// see different requests in them.
fn against_http() -> Vec<Bad> {
    let head = |lines: &str| raw(&format!("POST /v2/rerank HTTP/1.1\r\nhost: x\r\n{lines}"), GOOD);
    let many = "a: b\r\n".repeat(150);
    let large = format!("x-large: {}", "y".repeat(9000));
    let silent = |sends: &[u8]| Bad { ends: true, ..bad(sends, 0, "") };
    vec![
        broken("GARBAGE\r\n\r\n"),
        broken("POST /v2/rerank\r\n\r\n"),
        broken("POST /v2/rerank HTTP/9.9\r\nhost: x\r\n\r\n"),
        broken("POST /v2/rerank HTTP/1.1 x\r\nhost: x\r\n\r\n"),
        broken("POST /v2/rerank http/1.1\r\nhost: x\r\n\r\n"),
        broken("POST  /v2/rerank HTTP/1.1\r\nhost: x\r\n\r\n"),
        broken("PO ST /v2/rerank HTTP/1.1\r\nhost: x\r\n\r\n"),
        broken("POST /v2/re\0rank HTTP/1.1\r\nhost: x\r\n\r\n"),
        broken("POST v2/rerank HTTP/1.1\r\nhost: x\r\n\r\n"),
        broken(
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a client that speaks TLS\r\n\r\n"
                .as_slice(),
        ),
        broken(head("content-length: -1")),
        broken(head("content-length: +31")),
        broken(head("content-length: 0x1f")),
        broken(head("content-length: 31 31")),
        broken(head("content-length: 31, 31")),
        broken(head("content-length: 99999999999999999999")),
        broken(head("content-length: 31\r\ncontent-length: 5")),
        broken(head("content-length: 5\r\ncontent-length: 31")),
        broken(head("content-length : 31")),
        broken(head(" content-length: 31")),
        broken(head("x-fold: a\r\n b\r\ncontent-length: 31")),
        broken(head("x-fold: a\r\n\tb\r\ncontent-length: 31")),
        broken(head("content-length\r\nx: y")),
        broken(head(": 31\r\nx: y")),
        broken(head("x: a\rb\r\ncontent-length: 31")),
        broken(head("x: a\0b\r\ncontent-length: 31")),
        broken(head("x\u{e9}: a\r\ncontent-length: 31")),
        broken(head("transfer-encoding: gzip")),
        broken(head("transfer-encoding: identity")),
        broken(head("transfer-encoding: xchunked")),
        broken(head("transfer-encoding: chunked, gzip")),
        broken(head("transfer-encoding: chunked\r\ntransfer-encoding: identity")),
        broken(raw(
            "POST /v2/rerank HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked",
            "0\r\n\r\n",
        )),
        bad(head(&large), 431, ""),
        bad(head(&many), 431, ""),
        bad(format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(20_000)), 431, ""),
        // Cut off in their heads; nobody is there to be answered.
        silent(b""),
        silent(b"POST /v2/rerank HT"),
        silent(b"POST /v2/rerank HTTP/1.1\r\nhost: x\r\n"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_request_is_told_its_fault() {
    let server = TestServer::start(&configuration()).await;
    let mut steady = Client::connect(&server).await;
    let groups = [
        ("no JSON", no_json()),
        ("wrong in all dialects", wrong_in_all_dialects()),
        ("wrong members", wrong_members()),
        ("wrong members elsewhere", wrong_members_elsewhere()),
        ("wrong scores", wrong_scores()),
        ("wrong heads", wrong_heads()),
        ("wrong bodies", wrong_bodies()),
        ("against HTTP", against_http()),
    ];
    let expected = steady.good().await;
    let mut wrong = Vec::new();
    let mut count = 0;
    for (group, requests) in groups {
        for bad in requests {
            count += 1;
            let seen = judge(&server, &bad, &expected).await;
            if let Err(seen) = seen {
                let sent: String = bad.sends.escape_ascii().to_string().chars().take(200).collect();
                wrong.push(format!(
                    "{group}: {sent}\n    expected {} {:?}\n    {seen}",
                    bad.status, bad.says
                ));
            }
            assert_eq!(steady.good().await, expected, "after {}", bad.sends.escape_ascii());
        }
    }
    assert!(wrong.is_empty(), "{} of {count} went wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 80, "{count}");
    assert!(!server.metrics().await.contains("status=\"500\""));
    drop(steady);
    assert_eq!(server.stop().await.requests_cut, 0);
}

/// Sends a bad request, and after its answer a good one.
async fn judge(server: &TestServer, bad: &Bad, expected: &str) -> Result<(), String> {
    let mut client = Client::connect(server).await;
    // A server that has refused may have closed before all was sent.
    let _ = client.stream.write_all(&bad.sends).await;
    if bad.ends {
        let _ = client.stream.shutdown().await;
    }
    let head_only = bad.sends.starts_with(b"HEAD");
    let reply = client.reply(head_only).await;
    let Some(reply) = reply else {
        return if bad.status == 0 { Ok(()) } else { Err("it was not answered".into()) };
    };
    if reply.status != bad.status || !reply.body.contains(bad.says) {
        return Err(format!("answered {} {}", reply.status, reply.body));
    }
    if let Some(shape) = bad.shape {
        judge_shape(&reply.body, shape)?;
    }
    if reply.closes || bad.ends {
        return match client.reply(false).await {
            None => Ok(()),
            Some(more) => Err(format!("a second answer: {} {}", more.status, more.body)),
        };
    }
    let good = client.good().await;
    if good != expected {
        return Err(format!("the good request after it was answered {good}"));
    }
    Ok(())
}

/// Whether the body has the members of the shape and no others, all with the same text.
fn judge_shape(body: &str, shape: Shape) -> Result<(), String> {
    let answer: Value = serde_json::from_str(body).map_err(|error| format!("{body}: {error}"))?;
    let mut members = Vec::new();
    for (name, value) in answer.as_object().into_iter().flatten() {
        match value.as_object() {
            Some(inner) => members.extend(inner.keys().map(|key| format!("{name}.{key}"))),
            None => members.push(name.clone()),
        }
    }
    members.sort_unstable();
    if members != shape {
        return Err(format!("the members are {members:?}, not {shape:?}: {body}"));
    }
    let mut texts: Vec<_> =
        ["message", "detail", "error"].iter().filter_map(|name| answer[name].as_str()).collect();
    texts.dedup();
    match texts.len() {
        0 | 1 => Ok(()),
        _ => Err(format!("the texts differ: {body}")),
    }
}

/// What is after a request's end, as its head says, is another request; where two
/// could see two ends, nothing after it is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_smuggled() {
    let server = TestServer::start(&configuration()).await;
    let chunks = format!("{:x}\r\n{GOOD}\r\n0\r\n\r\n", GOOD.len());
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    // Each with a chunked body, and a length that ends it elsewhere.
    for lines in [
        "content-length: 4\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 4",
        "content-length: 500\r\ntransfer-encoding: chunked",
        "transfer-encoding: Chunked\r\ncontent-length: 4\r\ncontent-length: 5",
    ] {
        let mut client = Client::connect(&server).await;
        let head = format!("POST /v2/rerank HTTP/1.1\r\nhost: x\r\n{lines}");
        client.send(raw(&head, &format!("{chunks}{smuggled}"))).await;
        let reply = client.reply(false).await.unwrap();
        assert!(reply.closes, "{lines}");
        assert_eq!(reply.status, 200, "{lines}: {}", reply.body);
        assert!(client.reply(false).await.is_none(), "{lines}: the smuggled request was answered");
    }
    // Lines that end in a bare line feed end all the same (RFC 9112, 2.2).
    let mut client = Client::connect(&server).await;
    let request =
        format!("POST /v2/rerank HTTP/1.1\nhost: x\ncontent-length: {}\n\n{GOOD}", GOOD.len());
    client.send(request).await;
    assert_eq!(client.reply(false).await.unwrap().status, 200);
    client.good().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_in_a_pipeline_are_answered_in_their_places() {
    let server = TestServer::start(&configuration()).await;
    let mut client = Client::connect(&server).await;
    let requests = [
        (post("/v2/rerank", "", GOOD), 200),
        (post("/v2/rerank", "", "{"), 400),
        (post("/rerank", "", GOOD_TEI), 200),
        (post("/rerank", "", r#"{"query":"q","texts":[7]}"#), 422),
        (post("/nowhere", "", GOOD), 404),
        (post("/v1/rerank", "content-type: text/csv\r\n", GOOD), 415),
        (post("/v1/rerank", "", GOOD), 200),
        (b"GARBAGE\r\n\r\n".to_vec(), 400),
        (post("/v1/rerank", "", GOOD), 0),
    ];
    client.send(requests.iter().flat_map(|(request, _)| request.clone()).collect::<Vec<_>>()).await;
    for (request, status) in requests {
        let reply = client.reply(false).await.map_or(0, |reply| reply.status);
        assert_eq!(reply, status, "{}", request.escape_ascii());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_abuse_ends_its_connection_only() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    let frame = |length: u32, kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let mut frame = length.to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    };
    let abuses: [(&str, Vec<u8>); 9] = [
        ("no settings", frame(0, 6, 0, 0, b"")),
        ("a frame larger than allowed", frame(0xff_ffff, 0, 0, 1, b"")),
        ("data on stream 0", frame(1, 0, 0, 0, b"x")),
        ("data on an idle stream", frame(1, 0, 0, 5, b"x")),
        ("headers that are no HPACK", frame(4, 1, 5, 1, b"\xff\xff\xff\xff")),
        ("an even stream", frame(1, 1, 5, 2, b"\x82")),
        ("a window of 0 more", frame(4, 8, 0, 0, b"\0\0\0\0")),
        ("a continuation of nothing", frame(1, 9, 4, 1, b"\x82")),
        ("a push from a client", frame(4, 5, 4, 1, b"\0\0\0\x02")),
    ];
    let server = TestServer::start(&configuration()).await;
    let mut steady = Client::connect(&server).await;
    let expected = steady.good().await;
    for (name, abuse) in abuses {
        let settings = if name == "no settings" { b"".as_slice() } else { SETTINGS };
        let mut client = Client::connect(&server).await;
        client.send([PREFACE, settings, &abuse].concat()).await;
        let mut said = Vec::new();
        // A reset is an end, too.
        let ended = timeout(LOST, client.stream.read_to_end(&mut said)).await;
        assert!(ended.is_ok(), "{name}: the connection stays open");
        assert_eq!(steady.good().await, expected, "{name}");
    }
    drop(steady);
    server.stop().await;
}

/// A connection that reads what comes byte for byte.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    closes: bool,
    body: String,
}

impl Client {
    async fn connect(server: &TestServer) -> Client {
        Client { stream: TcpStream::connect(server.public).await.unwrap(), buffer: Vec::new() }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The results of a request with nothing wrong with it.
    async fn good(&mut self) -> String {
        let body = r#"{"query":"garden gate","texts":["the garden gate","stocks fell"]}"#;
        self.send(post("/rerank", "", body)).await;
        let reply = self.reply(false).await.expect("the connection ended");
        format!("{} {}", reply.status, reply.body)
    }

    /// The next answer; `None` if the connection ends first.
    async fn reply(&mut self, head_only: bool) -> Option<Reply> {
        let head = loop {
            let end = self.buffer.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                break String::from_utf8(head).unwrap().to_lowercase();
            }
            self.fill().await?;
        };
        let status = head[9..12].parse().unwrap();
        let header =
            |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let closes = header("connection") == Some("close");
        let length = match head_only {
            true => 0,
            false => header("content-length").map_or(0, |length| length.parse().unwrap()),
        };
        while self.buffer.len() < length {
            self.fill().await?;
        }
        let body: Vec<u8> = self.buffer.drain(..length).collect();
        let body = String::from_utf8(body).unwrap();
        Some(Reply { status, closes, body })
    }

    async fn fill(&mut self) -> Option<()> {
        let read = timeout(LOST, self.stream.read_buf(&mut self.buffer)).await;
        match read.expect("the server neither answers nor closes") {
            Ok(1..) => Some(()),
            Ok(0) | Err(_) => None,
        }
    }
}
