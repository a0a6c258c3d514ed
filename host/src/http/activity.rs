//! How long a connection may keep us waiting: a pure state machine that is told
//! what happens and says when patience ends, and the stream that tells it.
//!
//! hyper's own time-out for request heads begins when a connection falls idle,
//! so idleness could not be allowed longer than a head; it does not cover the
//! time before the protocol is known, nor idle HTTP/2 connections. This covers
//! all of them. Bodies have their own limit, and requests their deadlines.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// What a connection's peer is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing, since then; or it takes its answer.
    Idle { since: Instant },
    /// Sending a request's head, since then.
    Head { since: Instant },
    /// Waiting for us, with so many requests.
    Served { requests: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// The head of a request.
    Head,
    /// Any request.
    Idle,
}

#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub head: Duration,
    pub idle: Duration,
}

#[derive(Debug)]
pub struct Activity {
    patience: Patience,
    phase: Phase,
    /// On HTTP/2 not every byte belongs to a request.
    multiplexed: bool,
    /// Since when each answer waits to be taken, in the order in which they were
    /// given.
    unread: BTreeMap<u64, Instant>,
    answers: u64,
}

impl Activity {
    /// A peer that opens a connection has something to say.
    pub fn new(patience: Patience, now: Instant) -> Self {
        Activity {
            patience,
            phase: Phase::Head { since: now },
            multiplexed: false,
            unread: BTreeMap::new(),
            answers: 0,
        }
    }

    pub fn bytes_came(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Idle { .. }) && !self.multiplexed {
            self.phase = Phase::Head { since: now };
        }
    }

    pub fn request_began(&mut self, multiplexed: bool) {
        self.multiplexed |= multiplexed;
        let requests = match self.phase {
            Phase::Served { requests } => requests + 1,
            Phase::Idle { .. } | Phase::Head { .. } => 1,
        };
        self.phase = Phase::Served { requests };
    }

    pub fn request_ended(&mut self, now: Instant) {
        self.phase = match self.phase {
            Phase::Served { requests: requests @ 2.. } => Phase::Served { requests: requests - 1 },
            _ => Phase::Idle { since: now },
        };
    }

    /// The number by which it is said that this answer was taken.
    pub fn answer_began(&mut self, now: Instant) -> u64 {
        self.answers += 1;
        self.unread.insert(self.answers, now);
        self.answers
    }

    /// All of it was sent, or nobody wants it any more.
    pub fn answer_ended(&mut self, answer: u64) {
        self.unread.remove(&answer);
    }

    /// When patience ends, and with what.
    pub fn deadline(&self, told: Option<Instant>) -> Option<(Instant, Overdue)> {
        let deadlines = [self.deadline_of_phase(told), self.deadline_of_answers(told)];
        deadlines.into_iter().flatten().min_by_key(|(until, _)| *until)
    }

    /// No answer may wait longer than an idle connection, whatever else its peer
    /// does meanwhile: it holds memory. Once the peer was told to leave, what is in
    /// service beside the answer has as long again; nobody can prolong that.
    fn deadline_of_answers(&self, told: Option<Instant>) -> Option<(Instant, Overdue)> {
        let (_, &since) = self.unread.first_key_value()?;
        let since = told.map_or(since, |told| since.max(told));
        Some((since + self.patience.idle, Overdue::Idle))
    }

    /// A peer that was told to leave has as long to take its last answer as others
    /// for a head.
    fn deadline_of_phase(&self, told: Option<Instant>) -> Option<(Instant, Overdue)> {
        match self.phase {
            Phase::Idle { since } => {
                let until = match told {
                    None => since + self.patience.idle,
                    Some(told) => since.max(told) + self.patience.head,
                };
                Some((until, Overdue::Idle))
            }
            Phase::Head { since } => Some((since + self.patience.head, Overdue::Head)),
            Phase::Served { .. } => None,
        }
    }
}

/// An activity that a connection's stream and its requests tell of.
#[derive(Debug, Clone)]
pub struct Watched(Arc<Mutex<Activity>>);

impl Watched {
    pub fn new(patience: Patience) -> Self {
        Watched(Arc::new(Mutex::new(Activity::new(patience, Instant::now()))))
    }

    /// A request that ends when the turn is dropped.
    pub fn begin(&self, multiplexed: bool) -> Turn {
        self.lock().request_began(multiplexed);
        Turn(self.clone())
    }

    /// An answer that is taken when the guard is dropped.
    pub fn answer(&self) -> Unread {
        let answer = self.lock().answer_began(Instant::now());
        Unread { answer, connection: self.clone() }
    }

    pub fn deadline(&self, told: Option<Instant>) -> Option<(Instant, Overdue)> {
        self.lock().deadline(told)
    }

    /// A poisoned lock still holds a whole phase: every update is one store.
    fn lock(&self) -> MutexGuard<'_, Activity> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in service.
#[derive(Debug)]
pub struct Turn(Watched);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.lock().request_ended(Instant::now());
    }
}

/// An answer that its peer has not taken yet.
#[derive(Debug)]
pub struct Unread {
    answer: u64,
    connection: Watched,
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.connection.lock().answer_ended(self.answer);
    }
}

/// A connection's stream; its reads are noticed.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    watched: Watched,
}

impl<S> Wire<S> {
    pub fn new(stream: S, watched: Watched) -> Self {
        Wire { stream, watched }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.watched.lock().bytes_came(Instant::now());
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience =
        Patience { head: Duration::from_secs(10), idle: Duration::from_secs(75) };

    #[test]
    fn patience_follows_what_the_peer_does() {
        let opened = Instant::now();
        let after = |s| opened + Duration::from_secs(s);
        let mut peer = Activity::new(PATIENCE, opened);
        assert_eq!(peer.deadline(None), Some((after(10), Overdue::Head)));
        peer.bytes_came(after(4));
        assert_eq!(
            peer.deadline(None),
            Some((after(10), Overdue::Head)),
            "a byte now and then buys no time"
        );
        peer.request_began(false);
        peer.bytes_came(after(11));
        assert_eq!(peer.deadline(None), None, "it waits for us");
        peer.request_ended(after(20));
        assert_eq!(peer.deadline(None), Some((after(95), Overdue::Idle)));
        assert_eq!(
            peer.deadline(Some(after(5))),
            Some((after(30), Overdue::Idle)),
            "told long ago, it still may take its answer"
        );
        let told = Some(after(40));
        assert_eq!(peer.deadline(told), Some((after(50), Overdue::Idle)));
        peer.bytes_came(after(50));
        assert_eq!(peer.deadline(told), Some((after(60), Overdue::Head)));
    }

    #[test]
    fn requests_on_one_connection_are_counted() {
        let opened = Instant::now();
        let after = |s| opened + Duration::from_secs(s);
        let mut peer = Activity::new(PATIENCE, opened);
        peer.request_began(true);
        peer.request_began(true);
        peer.request_ended(after(1));
        assert_eq!(peer.deadline(None), None);
        peer.request_ended(after(2));
        let idle = Some((after(77), Overdue::Idle));
        assert_eq!(peer.deadline(None), idle);
        peer.bytes_came(after(3));
        assert_eq!(peer.deadline(None), idle, "a ping is no head");
    }

    #[test]
    fn an_answer_waits_no_longer_for_what_else_its_peer_does() {
        let opened = Instant::now();
        let after = |s| opened + Duration::from_secs(s);
        let mut peer = Activity::new(PATIENCE, opened);
        let idle = |s| Some((after(s), Overdue::Idle));
        let ask = |peer: &mut Activity, now| {
            peer.request_began(true);
            peer.request_ended(now);
            peer.answer_began(now)
        };
        let first = ask(&mut peer, after(1));
        let second = ask(&mut peer, after(3));
        assert_eq!(peer.deadline(None), idle(76), "the first answer counts");
        peer.answer_ended(first);
        peer.request_began(true);
        assert_eq!(peer.deadline(None), idle(78), "whatever is in service");
        let told = Some(after(78));
        assert_eq!(peer.deadline(told), idle(153), "that has its time");
        let third = ask(&mut peer, after(150));
        assert_eq!(peer.deadline(told), idle(153), "and no more than that");
        peer.answer_ended(second);
        peer.answer_ended(third);
        assert_eq!(peer.deadline(told), None);
    }
}
