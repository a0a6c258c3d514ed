//! A request's body: of the right kind, in bounded bytes, in bounded time. And the
//! room for all of them, in which their answers stay until they are sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderMap, ORIGIN};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::errors::{Problem, shown_bytes};
use crate::config::ServerSettings;

/// A whole body.
#[derive(Debug)]
pub struct Whole {
    pub bytes: Bytes,
    /// Hold it as long as what was decoded from the bytes.
    pub share: Share,
}

/// Room for all bodies that are held at once, and for answers until they are sent.
#[derive(Debug)]
pub struct Room {
    kib: Arc<Semaphore>,
    bodies_bytes_max: usize,
    body_bytes_max: usize,
    read_ms_max: Duration,
}

const KIB: usize = 1024;

/// What `curl -d` says of any body.
const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// Whatever fills the room (bodies being read, requests being served, answers being
/// sent) leaves it within about this time, if clients do their part.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Room {
    pub fn new(settings: &ServerSettings) -> Self {
        let kib = (settings.bodies_bytes_max / KIB).min(Semaphore::MAX_PERMITS);
        Room {
            kib: Arc::new(Semaphore::new(kib)),
            bodies_bytes_max: settings.bodies_bytes_max,
            body_bytes_max: settings.body_bytes_max,
            read_ms_max: settings.read_ms_max,
        }
    }

    /// Reads the whole body, or refuses it as soon as it is known to be too
    /// large. A refusal still reads on for a while: a client that only sends
    /// would otherwise see its connection reset instead of the answer.
    pub async fn collect<B>(&self, headers: &HeaderMap, body: B) -> Result<Whole, Problem>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let until = Instant::now() + self.read_ms_max;
        let mut body = body;
        let collected = timeout_at(until, self.read(headers, &mut body))
            .await
            .unwrap_or(Err(Problem::BodySlow { limit: self.read_ms_max }));
        if let Err(Problem::BodyTooLarge { .. } | Problem::BodiesFull { .. }) = collected {
            self.discard(headers, body, until).await;
        }
        collected
    }

    /// Reads on without keeping anything, within the same limits. Nothing is
    /// read of a client that waits for leave to send (`Expect: 100-continue`):
    /// it hears the refusal first.
    pub async fn discard<B>(&self, headers: &HeaderMap, mut body: B, until: Instant)
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if headers.contains_key(EXPECT) {
            return;
        }
        let mut left = self.body_bytes_max;
        let read = async {
            while let Some(Ok(frame)) = body.frame().await {
                let length = frame.data_ref().map_or(0, Bytes::len);
                match left.checked_sub(length) {
                    Some(rest) => left = rest,
                    None => break,
                }
            }
        };
        // Late or not, the refusal is sent now.
        let _ = timeout_at(until, read).await;
    }

    /// The answer to a body with this share, which it takes over: a client that does
    /// not read makes us hold answers as one that sends makes us hold bodies.
    pub fn answer(&self, mut share: Share, answer: Vec<u8>) -> Result<Bytes, Problem> {
        let answer = answer.into_boxed_slice();
        self.fit(&mut share, answer.len())?;
        Ok(Bytes::from_owner(Answer { answer, _share: share }))
    }

    /// Until when a body that nobody wants is read.
    pub fn patience(&self) -> Instant {
        Instant::now() + self.read_ms_max
    }

    async fn read<B>(&self, headers: &HeaderMap, body: &mut B) -> Result<Whole, Problem>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let announced = announced(headers);
        self.check(announced.unwrap_or(0), announced)?;
        // Room is taken for what has come, not for what is announced: else a few
        // clients that announce much and send nothing would hold all of it.
        let mut share = Share::default();
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::BodyBroken)?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let length = first.len() + rest.len() + data.len();
            self.check(length as u64, announced)?;
            self.grow(&mut share, length)?;
            // A body of one frame is not copied.
            if first.is_empty() && rest.is_empty() {
                first = data;
                continue;
            }
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
        let bytes = if rest.is_empty() { first } else { rest.freeze() };
        Ok(Whole { bytes, share })
    }

    /// Makes a share large enough for `bytes`, or refuses at once.
    fn grow(&self, share: &mut Share, bytes: usize) -> Result<(), Problem> {
        let missing = bytes.div_ceil(KIB).saturating_sub(share.kib());
        if missing == 0 {
            return Ok(());
        }
        let more = u32::try_from(missing)
            .ok()
            .and_then(|kib| self.kib.clone().try_acquire_many_owned(kib).ok())
            .ok_or(Problem::BodiesFull {
                bytes_max: self.bodies_bytes_max,
                retry_after: RETRY_AFTER,
            })?;
        match &mut share.permit {
            Some(permit) => permit.merge(more),
            None => share.permit = Some(more),
        }
        Ok(())
    }

    /// The same, and gives back what is too much.
    fn fit(&self, share: &mut Share, bytes: usize) -> Result<(), Problem> {
        let spare = share.kib().saturating_sub(bytes.div_ceil(KIB));
        if let Some(permit) = &mut share.permit {
            drop(permit.split(spare));
        }
        self.grow(share, bytes)
    }

    fn check(&self, bytes: u64, announced: Option<u64>) -> Result<(), Problem> {
        let limit = self.body_bytes_max as u64;
        if bytes <= limit {
            return Ok(());
        }
        Err(Problem::BodyTooLarge { value: announced, limit })
    }
}

/// A part of the room; dropping it gives it back.
#[derive(Debug, Default)]
pub struct Share {
    permit: Option<OwnedSemaphorePermit>,
}

impl Share {
    fn kib(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

/// An answer's bytes with their share. hyper queues bytes and drops the body that
/// they were in, so only they know when they are sent.
struct Answer {
    answer: Box<[u8]>,
    _share: Share,
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.answer
    }
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether a body with these headers may be read as JSON. A program that says
/// nothing is believed, and so is one that says what `curl -d` does by itself.
/// Others are told, since what they would get is an error that they could not
/// understand.
///
/// A browser is not believed. It sends both of these for pages of any origin
/// without asking, so a page could use a server on its reader's machine, or
/// behind its reader's firewall; for `application/json` it has to ask first
/// (CORS), and nobody here says yes. What browsers send to other origins has an
/// `Origin`.
pub fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    check_kind(headers, !headers.contains_key(ORIGIN))
}

/// The same where nobody has habits that should be allowed for.
pub fn check_json(headers: &HeaderMap) -> Result<(), Problem> {
    check_kind(headers, false)
}

/// With `habits`, saying nothing, or what `curl -d` does, is as good as JSON.
fn check_kind(headers: &HeaderMap, habits: bool) -> Result<(), Problem> {
    let header = |name| headers.get(name).map(|value| value.as_bytes());
    let kind = header(CONTENT_TYPE);
    let essence = kind.map(|kind| {
        let essence = kind.split(|&b| b == b';').next().unwrap_or_default();
        essence.trim_ascii().to_ascii_lowercase()
    });
    match essence.as_deref() {
        Some(b"application/json") => {}
        None | Some(FORM) if habits => {}
        found => {
            let found = match found {
                Some(_) => format!("\"{}\"", shown_bytes(kind.unwrap_or_default())),
                None => "missing".into(),
            };
            let page = match headers.contains_key(ORIGIN) {
                true => " and the request has an `Origin`, as those of web pages have",
                false => "",
            };
            return Err(Problem::MediaType(format!(
                "the content type is {found}{page}; it must be application/json (curl: -H 'content-type: application/json')"
            )));
        }
    }
    if let Some(coding) = header(CONTENT_ENCODING)
        && !coding.trim_ascii().eq_ignore_ascii_case(b"identity")
    {
        let coding = shown_bytes(coding);
        return Err(Problem::MediaType(format!(
            "the content encoding is \"{coding}\"; bodies must not be encoded"
        )));
    }
    Ok(())
}
