//! What is sent: a whole body, or events as they come.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, unfold};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use super::activity::{Turn, Watched};
use crate::dashboard;

pub enum Outgoing {
    Whole(Full<Bytes>),
    Events(Events),
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
        if let Outgoing::Events(events) = &mut self {
            events.connection = Some((connection.clone(), multiplexed));
        }
        self
    }
}

impl From<Full<Bytes>> for Outgoing {
    fn from(body: Full<Bytes>) -> Self {
        Outgoing::Whole(body)
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
            Outgoing::Whole(body) => return Pin::new(body).poll_frame(cx),
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
            Outgoing::Whole(body) => body.is_end_stream(),
            Outgoing::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Outgoing::Whole(body) => body.size_hint(),
            Outgoing::Events(_) => SizeHint::default(),
        }
    }
}
