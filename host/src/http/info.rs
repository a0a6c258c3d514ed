//! What the server says about itself: alive, ready, what it serves, metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use super::credentials::visitor;
use super::exchange::{JSON, refusal};
use super::headers::{REQUEST_ID, new_request_id, request_id};
use super::router::Page;
use super::{App, Side, docs, openapi};
use crate::config::ServerSettings;
use crate::model::ModelInfo;
use crate::route::{Route, Routes};

/// What `/metrics` is written in.
const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// The page for people has nothing from elsewhere and runs nothing.
const OWN_STYLE_ONLY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");

/// A model loads, or a server drains, for seconds rather than minutes.
const RETRY_AFTER_S: u64 = 1;

/// The server's description of itself, for programs and for people. It depends
/// on nothing that changes while the server runs.
pub struct Described {
    openapi: Bytes,
    docs: Bytes,
}

impl Described {
    pub fn of(settings: &ServerSettings) -> Self {
        let document = openapi::document(settings);
        Described { docs: docs::render(&document).into(), openapi: json(&document) }
    }
}

fn json(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body).expect("pages hold strings and numbers").into()
}

/// Probes need no key. What is served is told to holders of keys, if there are
/// any, and each hears of its own routes; the operators' listener is on loopback
/// unless somebody wanted otherwise, and tells all.
pub fn page(app: &App, side: Side, page: Page, head: &Parts) -> Response<Full<Bytes>> {
    let serving = app.serving();
    let all = side == Side::Operations || serving.callers().open();
    // A page has no use for a bad id but to repeat it; probes get a new one.
    let id = request_id(&head.headers).unwrap_or_else(|_| new_request_id());
    let (status, kind, text) = match page {
        Page::Health => (StatusCode::OK, JSON, json(&Health { status: "ok" })),
        Page::Ready => {
            let (status, ready) = ready(app, all);
            (status, JSON, json(&ready))
        }
        Page::Info if all => {
            (StatusCode::OK, JSON, json(&info(app, serving.generation, serving.routes())))
        }
        Page::Info => match visitor(&serving, &head.headers) {
            Ok(visitor) => {
                (StatusCode::OK, JSON, json(&info(app, serving.generation, visitor.routes)))
            }
            Err(problem) => {
                app.metrics.keys_refused.inc();
                return refusal(&problem, None, &id, head.version);
            }
        },
        Page::Metrics => (StatusCode::OK, OPENMETRICS, app.metrics.render().into()),
        Page::OpenApi => (StatusCode::OK, JSON, app.described().openapi.clone()),
        Page::Docs => (StatusCode::OK, HTML, app.described().docs.clone()),
    };
    let length = text.len();
    let body = match head.method {
        Method::HEAD => Bytes::new(),
        _ => text,
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if page == Page::Docs {
        headers.insert(CONTENT_SECURITY_POLICY, OWN_STYLE_ONLY);
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    }
    let id = HeaderValue::from_str(&id).expect("ids were checked to be visible ASCII");
    headers.insert(REQUEST_ID, id);
    response
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Health {
    #[schemars(extend("const" = "ok"))]
    status: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Ready {
    ready: bool,
    /// The server stops: it finishes what it has and takes no more.
    draining: bool,
    /// By name, whether the model can score; for whoever may know what is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    models: Option<BTreeMap<Arc<str>, bool>>,
}

/// Whether requests should be sent here: every model can score, and the server
/// does not stop. The models' names are for whoever may know what is served.
fn ready(app: &App, names: bool) -> (StatusCode, Ready) {
    let (draining, serving) = (app.draining(), app.serving());
    let models: BTreeMap<_, _> =
        (serving.routes().iter()).map(|route| (route.model.name(), route.model.ready())).collect();
    let ready = !draining && models.values().all(|&ready| ready);
    let status = match ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let models = names.then_some(models);
    (status, Ready { ready, draining, models })
}

/// What is served, within which limits. The members at the top are those that
/// TEI's clients look for; they describe the default route.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Info {
    version: &'static str,
    /// How many configurations the process has served, this one included.
    generation: u64,
    /// The folder or hub id of the default route's model.
    model_id: Arc<str>,
    model_dtype: &'static str,
    model_type: Kind,
    /// Tokens of a query and a document together.
    max_input_length: usize,
    max_batch_tokens: usize,
    max_client_batch_size: usize,
    default_route: Arc<str>,
    routes: BTreeMap<Arc<str>, RouteInfo>,
    models: BTreeMap<Arc<str>, ServedModel>,
    limits: Limits,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ModelType")]
struct Kind {
    reranker: Reranker,
}

/// Empty here: a cross-encoder has no labels to name.
#[derive(Debug, Serialize, JsonSchema)]
struct Reranker {}

#[derive(Debug, Serialize, JsonSchema)]
struct RouteInfo {
    model: Arc<str>,
    /// With their versions, outermost first.
    policies: Vec<String>,
    /// What computes its answers, as `x-maitred-chain` has it.
    chain: Arc<str>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ServedModel {
    /// The folder or hub id.
    source: Arc<str>,
    precision: &'static str,
    /// Tokens of a query and a document together.
    length_max: usize,
    /// Whether pairs of different lengths run together without padding.
    ragged: bool,
    batch_tokens_min: usize,
    batch_tokens_max: usize,
    /// What each is doing: `starting`, `idle`, `busy` or `failed`.
    replicas: Vec<&'static str>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Limits {
    body_bytes_max: usize,
    documents_max: usize,
    /// Metadata fields of one document.
    fields_max: usize,
    request_ms_max: u64,
}

fn info(app: &App, generation: u64, routes: &Routes) -> Info {
    let default = routes.default_route();
    let default_route = default.name.clone();
    let default = default.model.info();
    let route = |route: &Arc<Route>| {
        let (model, policies) = (route.model.name(), route.policies.clone());
        (route.name.clone(), RouteInfo { model, policies, chain: route.chain.clone() })
    };
    let settings = &app.settings;
    Info {
        version: env!("CARGO_PKG_VERSION"),
        generation,
        model_id: default.source,
        model_dtype: default.traits.precision,
        model_type: Kind { reranker: Reranker {} },
        max_input_length: default.traits.length_max,
        max_batch_tokens: default.traits.batch_tokens_max,
        max_client_batch_size: settings.documents_max,
        default_route,
        routes: routes.iter().map(route).collect(),
        models: routes.iter().map(|r| (r.model.name(), model(r.model.info()))).collect(),
        limits: Limits {
            body_bytes_max: settings.body_bytes_max,
            documents_max: settings.documents_max,
            fields_max: settings.fields_max,
            request_ms_max: settings.request_ms_max.as_millis() as u64,
        },
    }
}

fn model(info: ModelInfo) -> ServedModel {
    let traits = info.traits;
    ServedModel {
        source: info.source,
        precision: traits.precision,
        length_max: traits.length_max,
        ragged: traits.ragged,
        batch_tokens_min: traits.batch_tokens_min,
        batch_tokens_max: traits.batch_tokens_max,
        replicas: info.replicas,
    }
}
