//! Bodies that are wrong, by what they say.

use super::*;

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

/// Bodies that are no JSON object, whatever the dialect.
pub fn no_json() -> Vec<Bad> {
    let deep = "[".repeat(10_000);
    let bodies: [(&[u8], &str); 16] = [
        (b"", "the body is empty"),
        (b" ", "the body is empty"),
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
pub fn wrong_in_all_dialects() -> Vec<Bad> {
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
pub fn wrong_members() -> Vec<Bad> {
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
    let integer = "`top_n`: expected an integer from 1 to 4294967295, found";
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
        (r#""priority":"high""#, 400, "`priority`: expected an integer of 64 bits, found a string"),
        (
            r#""priority":9223372036854775808"#,
            400,
            "`priority`: expected an integer of 64 bits, found the number 9223372036854775808",
        ),
        (
            r#""priority":0.5"#,
            400,
            "`priority`: expected an integer of 64 bits, found the number 0.5",
        ),
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
pub fn wrong_members_elsewhere() -> Vec<Bad> {
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
        jina(
            r#""top_n":0"#,
            "`top_n`: expected an integer from 1 to 4294967295, found the number 0",
        ),
        jina(
            r#""top_n":-3"#,
            "`top_n`: expected an integer from 1 to 4294967295, found the number -3",
        ),
        jina(r#""max_doc_length":0"#, "`max_doc_length`: expected an integer from 1"),
        jina(r#""max_query_length":"8""#, "`max_query_length`: expected an integer from 1"),
        jina(r#""return_documents":"no""#, "`return_documents`: expected true or false"),
        bad(
            post("/jina/v1/rerank", "", r#"{"query":"q","documents":[{"image":"x"}]}"#),
            400,
            "`documents[0]` has `image` and no `text`",
        ),
        voyage(
            r#""top_k":0"#,
            "`top_k`: expected an integer from 1 to 4294967295, found the number 0",
        ),
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
        vllm(r#""top_n":4294967296"#, "`top_n`: expected an integer up to 4294967295, found"),
        vllm(
            r#""truncate_prompt_tokens":-2"#,
            "`truncate_prompt_tokens`: expected an integer from -1",
        ),
        vllm(
            r#""max_tokens_per_doc":-1"#,
            "`max_tokens_per_doc`: expected an integer from 0 to 4294967295",
        ),
        vllm(r#""max_tokens_per_query":1.5"#, "`max_tokens_per_query`: expected an integer from 0"),
        vllm(r#""use_activation":"no""#, "`use_activation`: expected true or false"),
        vllm(r#""truncation_side":"left""#, "only \\\"right\\\" is supported"),
        infinity(r#""raw_scores":1"#, "`raw_scores`: expected true or false, found the number 1"),
        infinity(
            r#""top_n":[]"#,
            "`top_n`: expected an integer from 1 to 4294967295, found a list",
        ),
    ]
}

/// Bodies of `/score`, which has three names for each of its two sides.
pub fn wrong_scores() -> Vec<Bad> {
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
            "`truncate_prompt_tokens`: expected -1 or an integer from 1 to 4294967295, found the number 0",
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
