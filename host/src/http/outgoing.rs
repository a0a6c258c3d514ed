//! What is sent: a whole body, or events as they come.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, unfold};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use super::activity::{Turn, Unread, Watched};
use crate::dashboard;

pub enum Outgoing {
    Whole(Whole),
    Events(Events),
}

/// An answer that is known to its end. hyper takes its bytes at once and drops the
/// body, so whoever waits for it to be taken is held by the bytes.
pub struct Whole {
    body: Full<Bytes>,
    unread: Option<Unread>,
}

/// Bytes on their way, and who wants to know when they are gone.
struct Sent {
    bytes: Bytes,
    _unread: Unread,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Whole {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let Some(unread) = self.unread.take() else {
            return Poll::Ready(frame);
        };
        let held = |bytes| Bytes::from_owner(Sent { bytes, _unread: unread });
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(held))))
    }
}

/// Events without an end of their own. While the peer has taken all of them it
/// waits for us, however long that is; while it does not, it is idle like one that
/// does not take its answer, and loses its connection after the same time.
pub struct Events {
    events: BoxStream<'static, String>,
    /// The connection, and whether it is shared with other requests.
    connection: Option<(Watched, bool)>,
    turn: Option<Turn>,
}

impl Outgoing {
    pub fn events(stream: dashboard::Stream) -> Self {
        let next = |mut stream: dashboard::Stream| async move {
            let event = stream.next().await?;
            Some((event, stream))
        };
        let events = unfold(stream, next).boxed();
        Outgoing::Events(Events { events, connection: None, turn: None })
    }

    /// Says on which connection it goes out.
    pub fn on(mut self, connection: &Watched, multiplexed: bool) -> Self {
        match &mut self {
            Outgoing::Whole(whole) => whole.unread = Some(connection.answer()),
            Outgoing::Events(events) => {
                events.connection = Some((connection.clone(), multiplexed));
            }
        }
        self
    }
}

impl From<Full<Bytes>> for Outgoing {
    fn from(body: Full<Bytes>) -> Self {
        Outgoing::Whole(Whole { body, unread: None })
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let events = match self.get_mut() {
            Outgoing::Whole(whole) => return whole.poll_frame(cx),
            Outgoing::Events(events) => events,
        };
        if events.turn.is_none() {
            let begin =
                |(connection, multiplexed): &(Watched, bool)| connection.begin(*multiplexed);
            events.turn = events.connection.as_ref().map(begin);
        }
        let event = ready!(events.events.poll_next_unpin(cx));
        // Who asks for the next one has taken it.
        events.turn = None;
        Poll::Ready(event.map(|event| Ok(Frame::data(event.into()))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Outgoing::Whole(whole) => whole.body.is_end_stream(),
            Outgoing::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Outgoing::Whole(whole) => whole.body.size_hint(),
            Outgoing::Events(_) => SizeHint::default(),
        }
    }
}
