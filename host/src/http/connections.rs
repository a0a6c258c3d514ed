//! Connections: accepted up to a cap, served until either side is done, bounded
//! in whatever a peer can make us wait for or hold. It knows no paths or bodies.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::activity::{Overdue, Patience, Watched, Wire};
use super::tls::shake;
use super::{App, Drained, Side, respond};
use crate::config::ServerSettings;

/// Pause after the system refused us a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where connections come in.
pub struct Door {
    pub listener: TcpListener,
    pub side: Side,
    /// `None` speaks in clear.
    pub tls: Option<TlsAcceptor>,
}

/// Accepts until told to stop, and then asks every connection to finish. The
/// tasks that are left are the caller's to join.
pub async fn accept(door: Door, app: Arc<App>, stop: watch::Receiver<bool>) -> JoinSet<()> {
    let room = Arc::new(Semaphore::new(app.settings.connections_max));
    let mut connections = JoinSet::new();
    let mut stopped = pin!(stopped(stop.clone()));
    loop {
        let (stream, permit) = tokio::select! {
            biased;
            () = &mut stopped => break connections,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
                continue;
            }
            accepted = next(&door.listener, &room) => accepted,
        };
        let (app, stop, tls) = (app.clone(), stop.clone(), door.tls.clone());
        connections.spawn(async move {
            match tls {
                None => converse(stream, door.side, app, stop).await,
                Some(tls) => converse_tls(stream, tls, door.side, app, stop).await,
            }
            drop(permit);
        });
    }
}

/// The next connection, once there is room for it: more wait in the kernel's
/// queue, where they cost us nothing.
async fn next(listener: &TcpListener, room: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let permit = room.clone().acquire_owned().await;
    let permit = permit.expect("nobody closes the semaphore");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are one small write; waiting for more only delays them.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection stays with Nagle's algorithm");
                }
                return (stream, permit);
            }
            Err(error) => match error.kind() {
                // That peer is gone already; it says nothing about the next.
                io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::Interrupted => {}
                // Out of descriptors or memory: the connection stays queued, so
                // trying again at once would spin until another one closes.
                _ => {
                    tracing::warn!(%error, "failed to accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// Resolves when told to stop.
pub async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it whoever wants us.
    let _ = stop.wait_for(|&stop| stop).await;
}

/// Waits for connections to end by themselves, at most until then, and cuts
/// the rest.
pub async fn drain(app: &App, mut connections: JoinSet<()>, until: Instant) -> Drained {
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout_at(until, ended).await.is_ok() {
        return Drained::default();
    }
    let requests = app.metrics.requests_in_flight.get();
    let drained = Drained {
        connections_cut: connections.len(),
        requests_cut: usize::try_from(requests).unwrap_or(0),
    };
    connections.shutdown().await;
    drained
}

/// Why a conversation ended.
enum End {
    /// Either side closed it, or broke the protocol.
    Closed(Result<(), Box<dyn std::error::Error + Send + Sync>>),
    Overdue(Overdue),
}

/// Serves one connection to its end.
pub async fn converse<S>(stream: S, side: Side, app: Arc<App>, stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _open = Open::new(&app, side);
    talk(stream, side, &app, stop).await;
}

/// The same below TLS. A peer has as long for the handshake as for a head; in a
/// handshake it has asked for nothing yet, so a stop ends it at once.
pub async fn converse_tls<S>(
    stream: S,
    tls: TlsAcceptor,
    side: Side,
    app: Arc<App>,
    stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _open = Open::new(&app, side);
    let shaken = tokio::select! {
        biased;
        shaken = shake(&tls, stream, &app) => shaken,
        () = stopped(stop.clone()) => None,
    };
    if let Some(stream) = shaken {
        talk(stream, side, &app, stop).await;
    }
}

async fn talk<S>(stream: S, side: Side, app: &Arc<App>, stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let patience = Patience { head: app.settings.read_ms_max, idle: app.settings.idle_ms_max };
    let watched = Watched::new(patience);
    let wire = TokioIo::new(Wire::new(stream, watched.clone()));
    let turns = watched.clone();
    let serving = app.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let multiplexed = request.version() == Version::HTTP_2;
        let turn = turns.begin(multiplexed);
        let (app, connection) = (serving.clone(), turns.clone());
        async move {
            let _turn = turn;
            let response = respond(&app, side, request).await;
            Ok::<_, Infallible>(response.map(|body| body.on(&connection, multiplexed)))
        }
    });
    let builder = builder(&app.settings);
    let mut connection = pin!(builder.serve_connection(wire, service));
    let mut stopped = pin!(stopped(stop));
    let mut alarm = pin!(sleep_until(Instant::now()));
    // When the peer was told that this connection ends.
    let mut told: Option<Instant> = None;
    let end = std::future::poll_fn(|cx| {
        loop {
            // First, so that a request that has arrived is seen before the
            // signal to stop.
            if let Poll::Ready(end) = connection.as_mut().poll(cx) {
                return Poll::Ready(End::Closed(end));
            }
            if told.is_none() && stopped.as_mut().poll(cx).is_ready() {
                told = Some(Instant::now());
                connection.as_mut().graceful_shutdown();
                continue;
            }
            let Some((deadline, overdue)) = watched.deadline(told) else {
                return Poll::Pending;
            };
            if alarm.deadline() != deadline {
                alarm.as_mut().reset(deadline);
            }
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if overdue == Overdue::Head || told.is_some() {
                return Poll::Ready(End::Overdue(overdue));
            }
            told = Some(Instant::now());
            connection.as_mut().graceful_shutdown();
        }
    })
    .await;
    conclude(app, end);
}

fn builder(settings: &ServerSettings) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(settings.header_bytes_max);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.streams_max)
        .max_header_list_size(u32::try_from(settings.header_bytes_max).unwrap_or(u32::MAX));
    builder
}

fn conclude(app: &App, end: End) {
    let broken = match end {
        End::Closed(Ok(())) => return,
        End::Overdue(Overdue::Idle) => return,
        End::Overdue(Overdue::Head) => "a request's head did not arrive in time".to_owned(),
        End::Closed(Err(error)) => {
            let parse = error
                .downcast_ref::<hyper::Error>()
                .is_some_and(|error| error.is_parse() || error.is_parse_too_large());
            if !parse {
                tracing::debug!(%error, "a connection broke");
                return;
            }
            error.to_string()
        }
    };
    app.metrics.connections_refused.inc();
    tracing::debug!(reason = broken, "a connection was refused");
}

/// Counts a connection of the public listener while it is open.
struct Open<'a>(Option<&'a App>);

impl<'a> Open<'a> {
    fn new(app: &'a App, side: Side) -> Self {
        let counted = (side == Side::Public).then_some(app);
        if let Some(app) = counted {
            app.metrics.connections.inc();
        }
        Open(counted)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some(app) = self.0 {
            app.metrics.connections.dec();
        }
    }
}
