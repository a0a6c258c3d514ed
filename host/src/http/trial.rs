//! A request that an operator tries: through its route, and through the plain
//! model, side by side. Each of the two is admitted as any request is.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::body::check_json;
use super::credentials::{Visitor, has_key, visitor};
use super::dialect::Bounds;
use super::dialect::document;
use super::dialect::object::{Keep, Object, invalid};
use super::errors::{Problem, shown};
use super::exchange::{JSON, TRACE, ask, begin, guarded, refusal, visible};
use super::headers::{REQUEST_ID, check_host, envelope};
use super::journal::Entry;
use super::operators::check_page;
use super::{App, Serving};
use crate::config::{Filtered, nearest};
use crate::rerank::{Error, Stage};
use crate::route::{Answer, Ask, AskedDocument, Queries, Route};

/// How metrics and the log call the dialect.
const NAME: &str = "try";
/// The body's members. It is ours, so there are no others.
const KEYS: [&str; 4] = ["route", "query", "documents", "top_n"];
/// One more is enough to refuse the body.
const KEEP: Keep = Keep { known: &KEYS, others_max: 1 };

/// What a client asks.
struct Asked {
    /// The default one if it does not say.
    route: Option<String>,
    query: String,
    documents: Vec<AskedDocument>,
    top_n: Option<u32>,
}

#[derive(Serialize)]
struct Trial {
    request_id: Arc<str>,
    route: Arc<str>,
    /// What the route answers.
    chain: Run,
    /// What its model answers alone; `None` where the route has no policies.
    plain: Option<Run>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Run {
    Answered(Answered),
    Failed(Failed),
}

#[derive(Serialize)]
struct Answered {
    /// By probability, best first; or, if `order_only`, by rank.
    results: Vec<Place>,
    order_only: bool,
    /// Documents that a policy left out.
    filtered: usize,
    /// A policy failed, and the plain model answered instead.
    bypassed: bool,
    pairs: u64,
    tokens: u64,
    took_ms: f64,
    tokenize_ms: f64,
    queue_ms: f64,
    inference_ms: f64,
    guest_cpu_ms: f64,
}

#[derive(Serialize)]
struct Place {
    index: u32,
    score: f32,
}

#[derive(Serialize)]
struct Failed {
    status: u16,
    message: String,
}

pub async fn answer<B>(app: &App, head: &Parts, body: B) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (mut entry, id) = begin(app, head);
    entry.otherwise = NAME;
    let trace = entry.span.response();
    let outcome = guarded(compare(app, id, head, body, &mut entry)).await;
    let mut response = match outcome {
        Ok((status, trial)) => {
            let body = serde_json::to_vec(&trial).expect("strings and numbers serialise");
            let mut response = Response::new(Full::new(Bytes::from(body)));
            *response.status_mut() = status;
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, JSON);
            headers.insert(REQUEST_ID, visible(&entry.request_id));
            response
        }
        Err(problem) => {
            entry.refused(&problem);
            refusal(&problem, None, &entry.request_id, head.version)
        }
    };
    if let Some(trace) = trace {
        response.headers_mut().insert(TRACE, visible(&trace));
    }
    response
}

/// Both runs, and the status of the first: the second is there to compare with.
async fn compare<B>(
    app: &App,
    id: Result<(), Problem>,
    head: &Parts,
    body: B,
    entry: &mut Entry,
) -> Result<(StatusCode, Trial), Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let serving = app.serving();
    let begun = id.and_then(|()| {
        check_host(head)?;
        check_page(app, head)?;
        check_json(&head.headers)?;
        check_open(app)?;
        let visitor = operator(app, &serving, &head.headers)?;
        entry.came(&visitor);
        Ok((visitor, envelope(&head.headers, entry.request_id.clone())?))
    });
    let (visitor, envelope) = match begun {
        Ok(begun) => begun,
        Err(problem) => {
            app.room.discard(&head.headers, body, app.room.patience()).await;
            return Err(problem);
        }
    };
    let body = app.room.collect(&head.headers, body).await?;
    let asked = decode(&Object::body(&body.bytes, KEEP)?, &app.bounds())?;
    entry.documents = asked.documents.len();
    let route = match &asked.route {
        Some(route) => visitor.named(route)?,
        None => visitor.for_model(None)?,
    };
    entry.route = Some(route.name.clone());
    entry.chain = Some(route.chain.clone());
    let mut ask = envelope.ask(Queries::One(asked.query.into()), asked.documents);
    ask.top_n = asked.top_n;
    // What is left out is told as such.
    ask.filtered = Some(Filtered::Omit);
    ask.caller = visitor.name();
    ask.trace = entry.span.trace();
    ask.priority = visitor.granted(ask.priority);
    let chain = run(&visitor, route, ask.clone()).await;
    // One after the other, so that neither is in the other's way, each with its own account.
    let plain = match route.policies.is_empty() {
        true => None,
        false => {
            let ask = Ask { report: Arc::default(), ..ask };
            Some(run(&visitor, &route.plain(), ask).await)
        }
    };
    let status = match &chain {
        Ok(answer) => {
            entry.answered(answer);
            StatusCode::OK
        }
        Err(problem) => {
            entry.refused(problem);
            problem.status(None)
        }
    };
    let told = |outcome| told(outcome, &entry.request_id);
    let trial = Trial {
        request_id: entry.request_id.clone(),
        route: route.name.clone(),
        chain: told(chain),
        plain: plain.map(told),
    };
    Ok((status, trial))
}

/// While the public side is being drained nobody is let in here, either.
fn check_open(app: &App) -> Result<(), Problem> {
    match app.draining() {
        false => Ok(()),
        true => Err(Problem::Domain(Error::Unavailable {
            reason: "the server is shutting down".into(),
            retry_after: app.settings.drain_ms_max,
        })),
    }
}

/// Who asks. A key counts here as it does for clients. Without one an operator may
/// use all, but nobody gets here what he would not get on the public listener, if
/// others than this machine's users reach this one.
fn operator<'s>(
    app: &App,
    serving: &'s Serving,
    headers: &HeaderMap,
) -> Result<Visitor<'s>, Problem> {
    let callers = !serving.callers().open();
    if callers && has_key(headers) {
        return visitor(serving, headers);
    }
    let settings = &app.settings;
    let anyone = !callers && !settings.listen.ip().is_loopback();
    if settings.ops_listen.ip().is_loopback() || anyone {
        return Ok(Visitor { holder: None, routes: serving.routes() });
    }
    match callers {
        true => Err(Problem::Unauthenticated),
        false => Err(Problem::Forbidden(
            "others than this machine's users reach this listener, and not the public one; try requests where `server.ops_listen` is on loopback, or add callers".into(),
        )),
    }
}

fn decode(body: &Object<'_>, bounds: &Bounds) -> Result<Asked, Problem> {
    if let Some((name, _)) = body.members().find(|(name, _)| !KEYS.contains(name)) {
        let name = shown(name);
        let hint = match nearest(&name, KEYS) {
            Some(nearest) => format!("; did you mean `{nearest}`?"),
            None => format!("; there are `{}`", KEYS.join("`, `")),
        };
        return Err(invalid(format!("there is no `{name}`{hint}")));
    }
    let query = body.text("query")?;
    let documents = document::documents(body, "documents", &[], bounds)?;
    Ok(Asked {
        route: body.text("route")?,
        query: query.ok_or_else(|| invalid("`query` is missing".into()))?,
        documents: documents.into_iter().map(|sent| sent.asked).collect(),
        top_n: body.integer("top_n", 1..=u32::MAX)?,
    })
}

async fn run(visitor: &Visitor<'_>, route: &Route, asked: Ask) -> Result<Answer, Problem> {
    let charge = visitor.charge(asked.documents.len())?;
    let report = asked.report.clone();
    let outcome = ask(route, asked).await;
    if let Err(problem) = &outcome {
        charge.settle(problem, &report);
    }
    outcome
}

fn told(outcome: Result<Answer, Problem>, request_id: &str) -> Run {
    let answer = match outcome {
        Ok(answer) => answer,
        Err(problem) => {
            let (status, message) = (problem.status(None).as_u16(), problem.text(request_id));
            return Run::Failed(Failed { status, message });
        }
    };
    let report = &answer.report;
    let ms = |stage| report.time(stage).as_secs_f64() * 1e3;
    let results = answer.results.iter();
    Run::Answered(Answered {
        results: results.map(|r| Place { index: r.index, score: r.score }).collect(),
        order_only: answer.order_only,
        filtered: answer.filtered,
        bypassed: report.bypassed(),
        pairs: report.pairs(),
        tokens: report.tokens(),
        took_ms: answer.took.as_secs_f64() * 1e3,
        tokenize_ms: ms(Stage::Tokenize),
        queue_ms: ms(Stage::Queue),
        inference_ms: ms(Stage::Inference),
        guest_cpu_ms: ms(Stage::GuestCpu),
    })
}
