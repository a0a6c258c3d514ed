//! The one table from what went wrong to what the caller reads: a status, a
//! text, and the body in which its dialect expects the text.
//!
//! Texts name the value and the limit; nothing internal is in them.

use std::borrow::Cow;
use std::time::Duration;

use hyper::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::dialect::Dialect;
use crate::rerank::Error;

/// Why a request got no ranking: HTTP's own reasons, and the domain's.
#[derive(Debug, Clone, PartialEq)]
pub enum Problem {
    /// The body is not a JSON object.
    Malformed(String),
    /// The query or the documents are there, but empty; TEI tells this apart.
    Empty(String),
    /// A header of ours cannot be understood.
    Header(String),
    /// The body ended early or was framed wrongly.
    BodyBroken,
    BodySlow {
        limit: Duration,
    },
    BodyTooLarge {
        /// Unknown if the client did not say: reading stops at the limit.
        value: Option<u64>,
        limit: u64,
    },
    /// Bodies and answers fill the room that they have together.
    BodiesFull {
        bytes_max: usize,
        retry_after: Duration,
    },
    MediaType(String),
    NoEndpoint(String),
    Method {
        method: String,
        allow: &'static str,
    },
    /// No key, several, or one that nobody holds; the caller reads the same.
    Unauthenticated,
    /// The caller may not use what it named.
    Forbidden(String),
    /// As many pages follow what happens as may.
    Watched {
        streams_max: usize,
    },
    /// The caller's own rate is used up.
    RateLimited {
        pairs_per_second: u64,
        retry_after: Duration,
    },
    /// The request's deadline passed.
    Late(Timeout),
    Domain(Error),
}

/// How long a request may take, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    Client(Duration),
    Server(Duration),
}

impl Timeout {
    /// What counts of a client's wish, if it has one, and the server's limit.
    pub fn of(asked: Option<Duration>, limit: Duration) -> Self {
        match asked {
            Some(asked) if asked <= limit => Timeout::Client(asked),
            _ => Timeout::Server(limit),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Problem::Domain(error)
    }
}

impl Problem {
    pub fn status(&self, dialect: Option<Dialect>) -> StatusCode {
        match self {
            Problem::Malformed(_) | Problem::Empty(_) => StatusCode::BAD_REQUEST,
            Problem::Header(_) | Problem::BodyBroken => StatusCode::BAD_REQUEST,
            Problem::BodySlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Problem::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Problem::BodiesFull { .. } => StatusCode::TOO_MANY_REQUESTS,
            Problem::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Problem::NoEndpoint(_) => StatusCode::NOT_FOUND,
            Problem::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Problem::Unauthenticated => StatusCode::UNAUTHORIZED,
            Problem::Forbidden(_) => StatusCode::FORBIDDEN,
            Problem::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Problem::Watched { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Problem::Late(_) => StatusCode::GATEWAY_TIMEOUT,
            Problem::Domain(error) => match error {
                Error::Invalid(_) if dialect == Some(Dialect::Tei) => {
                    StatusCode::UNPROCESSABLE_ENTITY
                }
                Error::Invalid(_) => StatusCode::BAD_REQUEST,
                Error::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                Error::NotFound(_) => StatusCode::NOT_FOUND,
                Error::Denied(_) => StatusCode::FORBIDDEN,
                Error::Overloaded { .. } => StatusCode::TOO_MANY_REQUESTS,
                Error::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
                Error::PolicyFailed { .. } => StatusCode::BAD_GATEWAY,
                Error::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
                Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }

    /// One word for each case, for metrics and traces.
    pub fn kind(&self) -> &'static str {
        match self {
            Problem::Malformed(_) => "malformed",
            Problem::Empty(_) => "empty",
            Problem::Header(_) => "header",
            Problem::BodyBroken => "body_broken",
            Problem::BodySlow { .. } => "body_slow",
            Problem::BodyTooLarge { .. } => "body_too_large",
            Problem::BodiesFull { .. } => "overloaded",
            Problem::MediaType(_) => "media_type",
            Problem::NoEndpoint(_) => "no_endpoint",
            Problem::Method { .. } => "method",
            Problem::Unauthenticated => "unauthenticated",
            Problem::Forbidden(_) => "forbidden",
            Problem::RateLimited { .. } => "rate_limited",
            Problem::Watched { .. } => "watched",
            Problem::Late(_) => "deadline_exceeded",
            Problem::Domain(error) => error.kind(),
        }
    }

    /// What the caller reads.
    pub fn text(&self, request_id: &str) -> String {
        match self {
            Problem::Malformed(text)
            | Problem::Empty(text)
            | Problem::Header(text)
            | Problem::MediaType(text)
            | Problem::Forbidden(text)
            | Problem::NoEndpoint(text) => text.clone(),
            Problem::BodyBroken => "the body ended early or was framed wrongly".into(),
            Problem::BodySlow { limit } => {
                let ms = limit.as_millis();
                format!("the body did not arrive within the limit of {ms} ms")
            }
            Problem::BodyTooLarge { value, limit } => match value {
                Some(value) => {
                    format!("the body is {value} bytes long, over the limit of {limit}")
                }
                None => format!("the body is over the limit of {limit} bytes"),
            },
            Problem::BodiesFull { bytes_max, retry_after } => {
                let ms = retry_after.as_millis();
                format!(
                    "the server is at capacity: no room is left for bodies and answers, whose limit is {bytes_max} bytes (`server.bodies_bytes_max`); try again in {ms} ms"
                )
            }
            Problem::Method { method, allow } => {
                format!("the method {method} is not allowed here; use {allow}")
            }
            Problem::Unauthenticated => {
                "there is no key in the request, or none that this server knows; send one key as `Authorization: Bearer KEY`".into()
            }
            Problem::Watched { streams_max } => {
                format!("{streams_max} pages follow this server already, which is the limit")
            }
            Problem::RateLimited { pairs_per_second, retry_after } => {
                let ms = retry_after.as_nanos().div_ceil(1_000_000);
                format!(
                    "the caller's rate of {pairs_per_second} pairs a second is used up; try again in {ms} ms"
                )
            }
            Problem::Late(timeout) => {
                let (limit, whose) = match timeout {
                    Timeout::Client(limit) => (limit, "as its `x-maitred-timeout-ms` says"),
                    Timeout::Server(limit) => (limit, "the server's `server.request_ms_max`"),
                };
                format!("the request's deadline of {} ms passed ({whose})", limit.as_millis())
            }
            Problem::Domain(Error::Internal(_)) => {
                format!("internal error; the server's log tells more under request id {request_id}")
            }
            Problem::Domain(error) => error.to_string(),
        }
    }

    /// What operators read on their page: its kind, and a text in which nothing
    /// stands that a client or a guest wrote. Equal problems have equal texts, so
    /// that they can be counted.
    pub fn account(&self) -> Cow<'static, str> {
        match self {
            Problem::Malformed(_) => "the body is not a JSON object".into(),
            Problem::Empty(_) => "the query or the documents are empty".into(),
            Problem::Header(_) => "a header of ours cannot be understood".into(),
            Problem::BodyBroken => self.text("").into(),
            Problem::BodySlow { .. } => self.text("").into(),
            Problem::BodyTooLarge { limit, .. } => {
                format!("the body is over the limit of {limit} bytes").into()
            }
            Problem::BodiesFull { bytes_max, .. } => {
                format!("bodies and answers are over the limit of {bytes_max} bytes").into()
            }
            Problem::MediaType(_) => "the body does not say that it is plain JSON".into(),
            Problem::NoEndpoint(_) => "nothing is at the path".into(),
            Problem::Method { allow, .. } => format!("the path takes only {allow}").into(),
            Problem::Unauthenticated => "there is no key, or none that this server knows".into(),
            Problem::Forbidden(_) => "the request names what its sender may not use".into(),
            Problem::RateLimited { pairs_per_second, .. } => {
                let rate = format!("the caller's rate of {pairs_per_second} pairs/s is used up");
                rate.into()
            }
            Problem::Watched { .. } => self.text("").into(),
            // A client may have written the number.
            Problem::Late(_) => account(&Error::DeadlineExceeded),
            Problem::Domain(error) => account(error),
        }
    }

    /// What only the log reads.
    pub fn internal(&self) -> Option<&str> {
        match self {
            Problem::Domain(Error::Internal(detail)) => Some(detail),
            _ => None,
        }
    }

    /// Whole seconds after which a retry may help. Rounded up: a client that
    /// comes early comes in vain.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Problem::RateLimited { retry_after, .. }
            | Problem::BodiesFull { retry_after, .. }
            | Problem::Domain(Error::Overloaded { retry_after })
            | Problem::Domain(Error::Unavailable { retry_after, .. }) => {
                let up = u64::from(retry_after.subsec_nanos() > 0);
                Some((retry_after.as_secs() + up).max(1))
            }
            _ => None,
        }
    }

    /// TEI's name for the kind of error.
    fn tei_type(&self) -> &'static str {
        match self {
            Problem::Empty(_) => "Empty",
            Problem::Domain(Error::Overloaded { .. })
            | Problem::BodiesFull { .. }
            | Problem::RateLimited { .. } => "Overloaded",
            Problem::Domain(Error::Unavailable { .. }) => "Unhealthy",
            Problem::Late(_)
            | Problem::Domain(
                Error::DeadlineExceeded | Error::PolicyFailed { .. } | Error::Internal(_),
            ) => "Backend",
            _ => "Validation",
        }
    }

    /// The body in the dialect's shape; where nobody knows yet who asks, in one
    /// that carries what each client reads.
    pub fn body(&self, dialect: Option<Dialect>, request_id: &str) -> Vec<u8> {
        let shape = dialect.map_or(Shape::Any, Dialect::errors);
        let text = self.text(request_id);
        let body = match shape {
            Shape::Tei => Refusal::Tei(TeiError { error: text, error_type: self.tei_type() }),
            Shape::Message => Refusal::Message(MessageError { message: text }),
            Shape::Detail => Refusal::Detail(DetailError { detail: text }),
            Shape::MessageAndDetail => {
                Refusal::Both(RerankError { message: text.clone(), detail: text })
            }
            Shape::Fault => {
                let status = self.status(dialect);
                let error = Fault {
                    message: text,
                    r#type: fault_type(status),
                    param: None,
                    code: status.as_u16(),
                };
                Refusal::Fault(FaultError { error })
            }
            Shape::Any => Refusal::Any(AnyError {
                message: text.clone(),
                detail: text.clone(),
                error: text,
                error_type: self.tei_type(),
            }),
        };
        serde_json::to_vec(&body).expect("strings serialise")
    }
}

/// Characters of what somebody else wrote that an error repeats.
const SHOWN_CHARS_MAX: usize = 100;

/// A value as errors show it. Every value that a client wrote goes through here:
/// errors are answered and logged, so a long one would make both longer than the
/// request. What was cut ends in `…`.
pub fn shown(value: &str) -> Cow<'_, str> {
    match value.char_indices().nth(SHOWN_CHARS_MAX) {
        None => Cow::Borrowed(value),
        Some((end, _)) => Cow::Owned(format!("{}…", &value[..end])),
    }
}

/// The same of bytes that may be no text.
pub fn shown_bytes(value: &[u8]) -> String {
    shown(&value.escape_ascii().to_string()).into_owned()
}

fn account(error: &Error) -> Cow<'static, str> {
    match error {
        Error::Invalid(_) => "the request breaks a rule of its dialect".into(),
        Error::TooLarge { what, limit, .. } => {
            format!("{what} is over the limit of {limit}").into()
        }
        Error::NotFound(_) => "no route or model has the name that is asked for".into(),
        Error::Denied(_) => "a policy refuses the request".into(),
        Error::Overloaded { .. } => "the server is at capacity".into(),
        Error::DeadlineExceeded => "the request's deadline passed".into(),
        // What a guest said stands behind a colon, and names out of requests in
        // quotes; the words before are the sandbox's.
        Error::PolicyFailed { policy, reason } => {
            let reason = reason.split([':', '`']).next().unwrap_or_default().trim_end();
            format!("policy `{policy}` {reason}").into()
        }
        // A policy may have said so.
        Error::Unavailable { .. } => {
            "no replica is in service, or a policy says that it cannot work".into()
        }
        // The words of no client: those are never in what only the log reads.
        Error::Internal(detail) => detail.clone().into(),
    }
}

/// The shapes in which clients expect an error's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Tei,
    Message,
    Detail,
    MessageAndDetail,
    /// As OpenAI's API has it.
    Fault,
    Any,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Refusal {
    Tei(TeiError),
    Message(MessageError),
    Detail(DetailError),
    Both(RerankError),
    Fault(FaultError),
    Any(AnyError),
}

/// An error as text-embeddings-inference states it.
#[derive(Serialize, JsonSchema)]
pub struct TeiError {
    error: String,
    error_type: &'static str,
}

/// An error as Cohere states it.
#[derive(Serialize, JsonSchema)]
pub struct MessageError {
    message: String,
}

/// An error as Jina and Voyage state it.
#[derive(Serialize, JsonSchema)]
pub struct DetailError {
    detail: String,
}

/// An error as Cohere and Jina state it; both members say the same.
#[derive(Serialize, JsonSchema)]
pub struct RerankError {
    message: String,
    detail: String,
}

/// An error as vLLM and infinity state it, after OpenAI's API.
#[derive(Serialize, JsonSchema)]
pub struct FaultError {
    error: Fault,
}

#[derive(Serialize, JsonSchema)]
struct Fault {
    message: String,
    r#type: &'static str,
    /// Never known here.
    param: Option<String>,
    /// The status.
    code: u16,
}

/// An error where nobody knows yet whose client asks; all texts say the same.
#[derive(Serialize, JsonSchema)]
pub struct AnyError {
    message: String,
    detail: String,
    error: String,
    error_type: &'static str,
}

/// The names that clients after OpenAI's API know, by status.
fn fault_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "AuthenticationError",
        403 => "PermissionDeniedError",
        404 => "NotFoundError",
        429 => "RateLimitError",
        400..500 => "BadRequestError",
        503 => "ServiceUnavailableError",
        _ => "InternalServerError",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_value() {
        assert_eq!(shown("rerank-9"), "rerank-9");
        let longest = "é".repeat(SHOWN_CHARS_MAX);
        assert_eq!(shown(&longest), longest);
        assert_eq!(shown(&format!("{longest}x")), format!("{longest}…"));
        assert_eq!(shown_bytes(b"a\xffb"), "a\\xffb");
    }

    #[test]
    fn the_shorter_time_is_the_deadline() {
        let ms = Duration::from_millis;
        assert_eq!(Timeout::of(None, ms(9)), Timeout::Server(ms(9)));
        assert_eq!(Timeout::of(Some(ms(5)), ms(9)), Timeout::Client(ms(5)));
        assert_eq!(Timeout::of(Some(ms(50)), ms(9)), Timeout::Server(ms(9)));
    }
}
