//! What the public listener understands and answers, for programs: the document
//! at `/openapi.json`, made from the types of the dialects, the table of paths
//! and the settings' limits.

use std::collections::BTreeMap;

use hyper::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value as Json, json};

use super::dialect::family::{self, Flavour};
use super::dialect::{Dialect, score, tei, voyage};
use super::errors::{self, Shape};
use super::info;
use super::router::RERANK;
use crate::config::ServerSettings;

/// The OpenAPI 3.1 document of a server with these settings.
pub fn document(settings: &ServerSettings) -> Json {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for (path, dialect) in RERANK {
        let operation = schemas.operation(path, dialect);
        let below = format!("/routes/{{route}}{path}");
        paths.insert(below, json!({"post": of_route(&operation)}));
        paths.insert(path.to_owned(), json!({"post": operation}));
    }
    paths.extend(schemas.pages());
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "maitred",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Ranks documents by their relevance to a query.",
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": TAGS.map(|(name, description)| json!({"name": name, "description": description})),
        "paths": paths,
        "components": {
            "schemas": schemas.components(),
            "securitySchemes": {"key": {
                "type": "http",
                "scheme": "bearer",
                "description": "A key of this server, if it asks for keys (`maitred key new`).",
            }},
        },
        // Not every server asks for one.
        "security": [{"key": []}, {}],
    });
    fill_in(&mut document, settings);
    document
}

const DESCRIPTION: &str = "\
One ranking, in the words of several servers: a client of any of them needs only another base URL. \
Every path of a dialect also exists below `/routes/{route}`, where the body's `model` chooses nothing. \
Bodies may have members that are not listed here; they are ignored. \
Headers that begin with `x-maitred-` and are not listed here are an error. \
A body needs the content type `application/json`; without an `Origin` header, none or that of \
`curl -d` will do.";

const TAGS: [(&str, &str); 9] = [
    (
        "shared",
        "Paths that several servers have in common. `/rerank` is text-embeddings-inference's if the \
         body has `texts`; a body with `top_k` and no `top_n` is Voyage's; of any other the answer is \
         the union of what clients of Cohere, Jina and vLLM read, and documents come back only if \
         `return_documents` asks for them.",
    ),
    (
        "score",
        "vLLM's scores of pairs: one text against many, or each against its own. A document \
         that a policy left out has the lowest score of the scale.",
    ),
    ("tei", "Exactly text-embeddings-inference's: base URL `/tei`."),
    ("cohere", "Exactly Cohere's: base URL `/cohere`."),
    (
        "jina",
        "Exactly Jina's: base URL `/jina/v1`. Documents come back unless `return_documents` is false.",
    ),
    ("voyage", "Exactly Voyage's: base URL `/voyage/v1`."),
    (
        "vllm",
        "Exactly vLLM's: base URL `/vllm` or `/vllm/v1`. Documents come back unless \
         `return_documents` is false.",
    ),
    (
        "infinity",
        "Exactly infinity's: base URL `/infinity` or `/infinity/v1`. Documents are bare strings.",
    ),
    ("server", "What the server says about itself."),
];

/// The schemas that operations refer to, each once.
struct Schemas {
    /// Of what is read.
    read: SchemaGenerator,
    /// Of what is written; an absent member is no `null` there.
    written: SchemaGenerator,
    /// Requests that differ from their type in a few bounds.
    adapted: BTreeMap<String, Json>,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Schemas {
            read: settings().for_deserialize().into_generator(),
            written: settings().for_serialize().into_generator(),
            adapted: BTreeMap::new(),
        }
    }

    fn operation(&mut self, path: &str, dialect: Option<Dialect>) -> Json {
        let spoken = spoken(dialect);
        let alone = spoken.len() == 1;
        let requests = spoken.iter().map(|&dialect| self.request(dialect, alone)).collect();
        let answers = spoken.iter().map(|&dialect| self.answer(dialect)).collect();
        let mut shapes: Vec<Shape> = spoken.iter().map(|dialect| dialect.errors()).collect();
        // Before the body is read, nobody knows.
        shapes.extend(dialect.is_none().then_some(Shape::Any));
        let errors = any_of(shapes.into_iter().map(|shape| self.error(shape)).collect());
        let mut headers = answer_headers();
        if spoken.contains(&Dialect::Tei) {
            headers.extend(timing_headers());
        }
        let mut responses = Map::new();
        let answer = json!({
            "description": "The ranking, or the scores.",
            "headers": headers,
            "content": {"application/json": {"schema": any_of(answers)}},
        });
        responses.insert("200".into(), answer);
        for (status, description) in REFUSALS {
            let only_tei = *status == StatusCode::UNPROCESSABLE_ENTITY;
            if only_tei && !spoken.contains(&Dialect::Tei) {
                continue;
            }
            let mut headers = Map::from_iter([request_id_header(), trace_header()]);
            let retry = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
            if retry.contains(status) {
                headers.extend([retry_after_header()]);
            }
            if *status == StatusCode::UNAUTHORIZED {
                headers.extend([challenge_header()]);
            }
            let refusal = json!({
                "description": description,
                "headers": headers,
                "content": {"application/json": {"schema": errors}},
            });
            responses.insert(status.as_u16().to_string(), refusal);
        }
        json!({
            "operationId": path[1..].replace('/', "_"),
            "tags": [tag(path)],
            "summary": summary(dialect),
            "parameters": parameters(),
            "requestBody": {
                "required": true,
                "content": {"application/json": {"schema": any_of(requests)}},
            },
            "responses": responses,
        })
    }

    /// The requests of a dialect, `alone` on its path or recognised by what its
    /// bodies have and have not.
    fn request(&mut self, dialect: Dialect, alone: bool) -> Json {
        let plain = match dialect {
            Dialect::Tei => reference::<tei::Request>(&mut self.read),
            Dialect::Voyage => reference::<voyage::Request>(&mut self.read),
            Dialect::Score => reference::<score::Request>(&mut self.read),
            Dialect::Family(flavour) => self.family(flavour),
        };
        let (with, without): (&[&str], &[&str]) = match dialect {
            _ if alone => return plain,
            Dialect::Tei => (&["texts"], &["documents"]),
            Dialect::Voyage => (&["top_k"], &["texts", "top_n"]),
            Dialect::Family(_) | Dialect::Score => (&[], &["texts", "top_k"]),
        };
        let without = without.iter().map(|name| json!({"required": [name]}));
        json!({"allOf": [plain], "required": with, "not": any_of(without.collect())})
    }

    fn family(&mut self, flavour: Flavour) -> Json {
        let plain = reference::<family::Request>(&mut self.read);
        let Some(name) = flavour.own_request() else {
            return plain;
        };
        let mut own = self.read.definitions()["RerankRequest"].clone();
        flavour.adapt_request(&mut own);
        self.adapted.insert(name.to_owned(), own);
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    fn answer(&mut self, dialect: Dialect) -> Json {
        match dialect {
            Dialect::Tei => reference::<tei::Answer>(&mut self.written),
            Dialect::Voyage => reference::<voyage::Answer<'static>>(&mut self.written),
            Dialect::Score => reference::<score::Answer<'static>>(&mut self.written),
            Dialect::Family(flavour) => {
                let plain = reference::<family::Answer<'static>>(&mut self.written);
                json!({"allOf": [plain], "required": flavour.answer_members()})
            }
        }
    }

    fn error(&mut self, shape: Shape) -> Json {
        let to = &mut self.written;
        match shape {
            Shape::Tei => reference::<errors::TeiError>(to),
            Shape::Message => reference::<errors::MessageError>(to),
            Shape::Detail => reference::<errors::DetailError>(to),
            Shape::MessageAndDetail => reference::<errors::RerankError>(to),
            Shape::Fault => reference::<errors::FaultError>(to),
            Shape::Any => reference::<errors::AnyError>(to),
        }
    }

    fn pages(&mut self) -> Map<String, Json> {
        let health = reference::<info::Health>(&mut self.written);
        let ready = reference::<info::Ready>(&mut self.written);
        let info = reference::<info::Info>(&mut self.written);
        let json = |schema: &Json| json!({"application/json": {"schema": schema}});
        let headers = Map::from_iter([request_id_header()]);
        let page = |id: &str, summary: &str, content: Json| {
            json!({
                "operationId": id,
                "tags": ["server"],
                "summary": summary,
                "security": [],
                "responses": {"200": {"description": summary, "headers": headers, "content": content}},
            })
        };
        let mut readiness = page("ready", "Whether requests should be sent here.", json(&ready));
        readiness["responses"]["503"] = json!({
            "description": "A model loads or has failed, or the server drains.",
            "headers": Map::from_iter([request_id_header(), retry_after_header()]),
            "content": json(&ready),
        });
        let mut served = page("info", "What is served, within which limits.", json(&info));
        served["security"] = json!([{"key": []}, {}]);
        let refusal = self.error(Shape::Any);
        served["responses"]["401"] = json!({
            "description": "This server asks for keys, and tells only their holders.",
            "headers": Map::from_iter([request_id_header(), challenge_header()]),
            "content": json(&refusal),
        });
        let object = json!({"type": "object"});
        let html = json!({"text/html": {"schema": {"type": "string"}}});
        let get = |page: Json| json!({"get": page});
        Map::from_iter([
            ("/health".into(), get(page("health", "Whether the process lives.", json(&health)))),
            ("/ready".into(), get(readiness)),
            ("/info".into(), get(served)),
            ("/openapi.json".into(), get(page("openapi", "This document.", json(&object)))),
            ("/docs".into(), get(page("docs", "This document, for people.", html))),
        ])
    }

    fn components(mut self) -> Map<String, Json> {
        let mut all = self.read.take_definitions(true);
        all.extend(self.written.take_definitions(true));
        all.extend(self.adapted);
        all
    }
}

/// The dialects of a path.
fn spoken(dialect: Option<Dialect>) -> Vec<Dialect> {
    const V1: Dialect = Dialect::Family(Flavour::Shared(family::Version::V1));
    match dialect {
        None => vec![Dialect::Tei, V1, Dialect::Voyage],
        Some(V1) => vec![V1, Dialect::Voyage],
        Some(only) => vec![only],
    }
}

fn tag(path: &str) -> &str {
    let prefix = path[1..].split('/').next().unwrap_or_default();
    match TAGS.into_iter().find(|(name, _)| *name == prefix) {
        _ if path.ends_with("score") => "score",
        Some((name, _)) => name,
        None => "shared",
    }
}

fn summary(dialect: Option<Dialect>) -> &'static str {
    match dialect {
        None => "Ranks documents; whose client asks is read off the body.",
        Some(Dialect::Score) => "Scores pairs of texts.",
        Some(_) => "Ranks documents by their relevance to a query.",
    }
}

/// The operation below `/routes/{route}`.
fn of_route(operation: &Json) -> Json {
    let mut operation = operation.clone();
    let id = operation["operationId"].as_str().unwrap_or_default();
    operation["operationId"] = json!(format!("route_{id}"));
    let route = json!({
        "name": "route",
        "in": "path",
        "required": true,
        "description": "The name of a route.",
        "schema": {"type": "string", "pattern": "^[^/]+$"},
    });
    if let Some(parameters) = operation["parameters"].as_array_mut() {
        parameters.insert(0, route);
    }
    operation
}

const REFUSALS: &[(StatusCode, &str)] = &[
    (
        StatusCode::BAD_REQUEST,
        "The body is no JSON object, or something in it or in the head is wrong or missing; the text names it.",
    ),
    (
        StatusCode::UNAUTHORIZED,
        "There is no key in the request, or an unknown one, and this server asks for keys.",
    ),
    (StatusCode::FORBIDDEN, "A policy refuses the request, or its key may not do so."),
    (StatusCode::NOT_FOUND, "No route or model has that name."),
    (StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time."),
    (
        StatusCode::PAYLOAD_TOO_LARGE,
        "The body, its documents or their tokens are over a limit; the text names it. A retry cannot help.",
    ),
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body is not said to be JSON, or it is compressed."),
    (
        StatusCode::UNPROCESSABLE_ENTITY,
        "Something in the body is wrong or missing; the text names it.",
    ),
    (StatusCode::TOO_MANY_REQUESTS, "The server is at capacity."),
    (StatusCode::INTERNAL_SERVER_ERROR, "A bug; the log tells more under the request's id."),
    (StatusCode::BAD_GATEWAY, "A policy failed; the text names it."),
    (StatusCode::SERVICE_UNAVAILABLE, "No replica is in service, or the server drains."),
    (StatusCode::GATEWAY_TIMEOUT, "The request's deadline passed."),
];

fn parameters() -> Json {
    json!([
        {
            "name": "x-request-id",
            "in": "header",
            "description": "Names the request in the answer and in logs; made up if it is absent.",
            "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
        },
        {
            "name": "x-maitred-priority",
            "in": "header",
            "description": "Order of service among requests that wait; wins over the body's `priority`.",
            "schema": {"type": "string", "enum": ["low", "normal", "high"]},
        },
        {
            "name": "x-maitred-timeout-ms",
            "in": "header",
            "description": "Milliseconds until the answer is of no use; the server's own limit if that is less.",
            "schema": {"type": "integer", "minimum": 1, "maximum": u64::MAX},
        },
        {
            "name": "traceparent",
            "in": "header",
            "description": "The caller's place in a trace (W3C Trace Context); ignored where it cannot be read, and by servers that do not trace.",
            "schema": {"type": "string"},
        },
        {
            "name": "tracestate",
            "in": "header",
            "description": "What goes along with `traceparent`; up to 512 bytes are kept.",
            "schema": {"type": "string"},
        },
    ])
}

fn header(name: &str, description: &str, schema: Json) -> (String, Json) {
    (name.to_owned(), json!({"description": description, "schema": schema}))
}

fn request_id_header() -> (String, Json) {
    header("x-request-id", "Names the request in logs.", json!({"type": "string"}))
}

fn trace_header() -> (String, Json) {
    let description = "The trace, this server's span in it, and whether it is recorded, in the form of `traceparent`; absent where the server does not trace.";
    header("traceresponse", description, json!({"type": "string"}))
}

fn retry_after_header() -> (String, Json) {
    let seconds = json!({"type": "integer", "minimum": 1});
    header("retry-after", "Seconds after which a retry may help.", seconds)
}

fn challenge_header() -> (String, Json) {
    header("www-authenticate", "How to send a key.", json!({"type": "string"}))
}

fn answer_headers() -> Map<String, Json> {
    let count = || json!({"type": "integer", "minimum": 1});
    Map::from_iter([
        request_id_header(),
        trace_header(),
        header("x-maitred-route", "The route that answered.", json!({"type": "string"})),
        header(
            "x-maitred-bypassed",
            "A policy failed, and this is the ranking of the model alone.",
            json!({"const": "true"}),
        ),
        header(
            "x-maitred-scores",
            "Only the order means something; the scores are evenly spaced ranks.",
            json!({"const": "order"}),
        ),
        header("x-maitred-filtered", "Documents that a policy left out.", count()),
        header("x-maitred-truncated", "Pairs that lost tokens to a limit.", count()),
    ])
}

fn timing_headers() -> Vec<(String, Json)> {
    let count = || json!({"type": "integer", "minimum": 0});
    vec![
        header(
            "x-compute-time",
            "Milliseconds in all (of text-embeddings-inference's clients, as the following).",
            count(),
        ),
        header(
            "x-compute-characters",
            "Characters of all texts, the query counted with each.",
            count(),
        ),
        header("x-compute-tokens", "Tokens that the model read.", count()),
        header("x-total-time", "Milliseconds in all.", count()),
        header("x-tokenization-time", "Milliseconds of turning texts into tokens.", count()),
        header("x-queue-time", "Milliseconds of waiting for the model.", count()),
        header("x-inference-time", "Milliseconds in the model.", count()),
    ]
}

fn reference<T: JsonSchema>(generator: &mut SchemaGenerator) -> Json {
    generator.subschema_for::<T>().into()
}

fn any_of(mut schemas: Vec<Json>) -> Json {
    match schemas.len() {
        1 => schemas.remove(0),
        _ => json!({"anyOf": schemas}),
    }
}

/// Puts numbers where the types name a setting: a bound of a list that only the
/// configuration knows.
fn fill_in(at: &mut Json, settings: &ServerSettings) {
    match at {
        Json::Object(members) => {
            for (name, member) in members {
                match (name.as_str(), member.as_str()) {
                    ("maxItems", Some("documents_max")) => *member = json!(settings.documents_max),
                    ("maxItems", Some("fields_max")) => *member = json!(settings.fields_max),
                    _ => fill_in(member, settings),
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(|item| fill_in(item, settings)),
        _ => {}
    }
}
