//! Heads that are wrong, and bodies that do not come as their heads say.

use super::*;

/// Paths, methods and headers.
pub fn wrong_heads() -> Vec<Bad> {
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
        bad(post(&long_path, "", GOOD), 404, "aaa…`; requests go to"),
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
        header("x-maitred-foo: 1\r\n", 400, "there is no header `x-maitred-foo`; there are"),
        header(
            "x-request-id: a b\r\n",
            400,
            "`x-request-id` must be 1 to 128 visible ASCII characters; character 2 is \\\" \\\"",
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
pub fn wrong_bodies() -> Vec<Bad> {
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
pub fn against_http() -> Vec<Bad> {
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
