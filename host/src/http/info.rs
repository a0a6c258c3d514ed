//! What the server says about itself: alive, ready, what it serves, metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use serde_json::{Value as Json, json};

use super::credentials::visitor;
use super::exchange::{JSON, refusal};
use super::headers::{REQUEST_ID, new_request_id, request_id};
use super::router::Page;
use super::{App, Side};
use crate::model::ModelInfo;
use crate::route::Routes;

/// What `/metrics` is written in.
const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// A model loads, or a server drains, for seconds rather than minutes.
const RETRY_AFTER_S: u64 = 1;

/// Probes need no key. What is served is told to holders of keys, if there are
/// any, and each hears of its own routes; the operators' listener is on loopback
/// unless somebody wanted otherwise, and tells all.
pub fn page(app: &App, side: Side, page: Page, head: &Parts) -> Response<Full<Bytes>> {
    let serving = app.serving();
    let all = side == Side::Operations || serving.callers().open();
    // A page has no use for a bad id but to repeat it; probes get a new one.
    let id = request_id(&head.headers).unwrap_or_else(|_| new_request_id());
    let (status, kind, text) = match page {
        Page::Health => (StatusCode::OK, JSON, json!({"status": "ok"}).to_string()),
        Page::Ready => {
            let (status, body) = ready(app, all);
            (status, JSON, body.to_string())
        }
        Page::Info if all => {
            (StatusCode::OK, JSON, info(app, serving.generation, serving.routes()).to_string())
        }
        Page::Info => match visitor(&serving, &head.headers) {
            Ok(visitor) => {
                (StatusCode::OK, JSON, info(app, serving.generation, visitor.routes).to_string())
            }
            Err(problem) => {
                app.metrics.keys_refused.inc();
                return refusal(&problem, None, &id, head.version);
            }
        },
        Page::Metrics => (StatusCode::OK, OPENMETRICS, app.metrics.render()),
    };
    let length = text.len();
    let body = match head.method {
        Method::HEAD => Bytes::new(),
        _ => Bytes::from(text),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    }
    let id = HeaderValue::from_str(&id).expect("ids were checked to be visible ASCII");
    headers.insert(REQUEST_ID, id);
    response
}

/// Whether requests should be sent here: every model can score, and the server
/// does not stop. The models' names are for whoever may know what is served.
fn ready(app: &App, names: bool) -> (StatusCode, Json) {
    let (draining, serving) = (app.draining(), app.serving());
    let models: BTreeMap<_, _> = serving
        .routes()
        .iter()
        .map(|route| (route.model.name().to_string(), route.model.ready()))
        .collect();
    let ready = !draining && models.values().all(|&ready| ready);
    let status = match ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = match names {
        true => json!({"ready": ready, "draining": draining, "models": models}),
        false => json!({"ready": ready, "draining": draining}),
    };
    (status, body)
}

/// What is served, within which limits. The keys at the top are those that TEI's
/// clients look for; they describe the default route.
fn info(app: &App, generation: u64, routes: &Routes) -> Json {
    let models: BTreeMap<Arc<str>, ModelInfo> =
        routes.iter().map(|route| (route.model.name(), route.model.info())).collect();
    let default = routes.default_route();
    let default_name = &*default.name;
    let default = default.model.info();
    let routes: BTreeMap<&str, Json> = routes
        .iter()
        .map(|route| {
            let model = route.model.name();
            let info =
                json!({"model": &*model, "policies": route.policies, "chain": &*route.chain});
            (&*route.name, info)
        })
        .collect();
    let models: BTreeMap<&str, Json> =
        models.iter().map(|(name, info)| (&**name, model(info))).collect();
    let settings = &app.settings;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "generation": generation,
        "model_id": &*default.source,
        "model_dtype": default.traits.precision,
        "model_type": {"reranker": {}},
        "max_input_length": default.traits.length_max,
        "max_batch_tokens": default.traits.batch_tokens_max,
        "max_client_batch_size": settings.documents_max,
        "default_route": default_name,
        "routes": routes,
        "models": models,
        "limits": {
            "body_bytes_max": settings.body_bytes_max,
            "documents_max": settings.documents_max,
            "fields_max": settings.fields_max,
            "request_ms_max": settings.request_ms_max.as_millis() as u64,
        },
    })
}

fn model(info: &ModelInfo) -> Json {
    let traits = &info.traits;
    json!({
        "source": &*info.source,
        "precision": traits.precision,
        "length_max": traits.length_max,
        "ragged": traits.ragged,
        "batch_tokens_min": traits.batch_tokens_min,
        "batch_tokens_max": traits.batch_tokens_max,
        "replicas": info.replicas,
    })
}
