//! Clients: two listeners, their connections, and the requests on them.
//!
//! A request goes from `connections` through `router` to `exchange`, which
//! reads its `body`, decodes it by its `dialect`, asks a route, and encodes the
//! answer or, by the table in `errors`, what went wrong. It knows routes and
//! nothing behind them. `operators` serves the page of `dashboard`, and `trial` the
//! requests that are tried from it.

mod activity;
mod body;
mod certificate;
mod connections;
mod credentials;
pub mod dialect;
mod docs;
pub mod errors;
mod exchange;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod headers;
mod info;
mod journal;
mod openapi;
mod operators;
mod outgoing;
mod router;
#[cfg(test)]
mod tests;
mod tls;
mod trial;

#[cfg(any(test, fuzzing))]
pub use fuzz::fuzz;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::body::Body;
use hyper::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use self::body::Room;
pub use self::certificate::CertificateError;
use self::connections::Door;
use self::dialect::Bounds;
use self::info::Described;
use self::outgoing::Outgoing;
use self::router::Endpoint;
pub use self::tls::Tls;
use crate::callers::{Caller, Callers};
use crate::config::ServerSettings;
use crate::dashboard::{Dashboard, Scene};
use crate::metrics::Metrics;
use crate::route::Routes;
use crate::telemetry::Tracer;

/// What the configuration offers to clients. It is replaced as a whole, and a
/// request keeps to the end the one that it began with.
pub struct Serving {
    /// How many configurations this process has served, this one included.
    generation: u64,
    routes: Arc<Routes>,
    callers: Callers,
    /// The routes as a caller sees that may not use all.
    views: BTreeMap<Arc<str>, Routes>,
}

impl Serving {
    /// The callers' routes are among `routes`: the configuration was checked.
    pub fn new(routes: Arc<Routes>, callers: Callers) -> Self {
        let view = |caller: &Arc<Caller>| {
            Some((caller.name.clone(), routes.only(caller.routes.as_deref()?)))
        };
        let views = callers.iter().filter_map(view).collect();
        Serving { generation: 1, routes, callers, views }
    }

    /// The same as the configuration of that number.
    pub fn numbered(self, generation: u64) -> Self {
        Serving { generation, ..self }
    }

    pub fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }

    pub fn callers(&self) -> &Callers {
        &self.callers
    }

    fn routes_of(&self, caller: &Caller) -> &Routes {
        self.views.get(&caller.name).unwrap_or(&self.routes)
    }
}

/// What every request is served with.
pub struct App {
    serving: ArcSwap<Serving>,
    pub settings: ServerSettings,
    pub metrics: Arc<Metrics>,
    dashboard: Arc<Dashboard>,
    tracer: Tracer,
    room: Room,
    described: OnceLock<Described>,
    draining: AtomicBool,
}

impl App {
    /// Traces nothing.
    pub fn new(serving: Serving, settings: ServerSettings, metrics: Arc<Metrics>) -> Arc<Self> {
        Self::traced(serving, settings, metrics, Tracer::default())
    }

    pub fn traced(
        serving: Serving,
        settings: ServerSettings,
        metrics: Arc<Metrics>,
        tracer: Tracer,
    ) -> Arc<Self> {
        Arc::new(App {
            serving: ArcSwap::from_pointee(serving),
            room: Room::new(&settings),
            settings,
            metrics,
            dashboard: Dashboard::new(),
            tracer,
            described: OnceLock::new(),
            draining: AtomicBool::new(false),
        })
    }

    /// What is offered now.
    pub fn serving(&self) -> Arc<Serving> {
        self.serving.load_full()
    }

    /// Offers something else to every request that begins from now on.
    pub fn replace(&self, serving: Serving) {
        self.serving.store(Arc::new(serving));
    }

    /// Whether the server stops; it does not start again.
    fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// What the operators' page shows beside metrics.
    fn scene(&self) -> Scene {
        let serving = self.serving();
        let callers = !serving.callers.open();
        Scene { callers, ..Scene::of(&serving.routes, serving.generation, self.draining()) }
    }

    /// Made when somebody asks for it.
    fn described(&self) -> &Described {
        self.described.get_or_init(|| Described::of(&self.settings))
    }

    fn bounds(&self) -> Bounds {
        Bounds { documents_max: self.settings.documents_max, fields_max: self.settings.fields_max }
    }
}

/// The bound sockets; whoever bound them knows their addresses.
pub struct Listeners {
    pub public: TcpListener,
    /// What the public side is encrypted with; `None` speaks in clear, as the
    /// operators' side always does.
    pub tls: Option<Tls>,
    pub operations: TcpListener,
}

/// On which listener a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Public,
    Operations,
}

/// What the end of the grace cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    pub connections_cut: usize,
    pub requests_cut: usize,
}

/// Serves until `shutdown` resolves and load balancers had their time to see
/// it, and then what was admitted, within the settings' grace. Operators can look on until the public side is done.
pub async fn serve(
    listeners: Listeners,
    app: Arc<App>,
    shutdown: impl Future<Output = ()>,
) -> Drained {
    let (stop_public, public_stop) = watch::channel(false);
    let (stop_operations, operations_stop) = watch::channel(false);
    let (acceptor, keeper) = listeners.tls.map(|tls| (tls.acceptor, tls.keeper)).unzip();
    let keeping = async {
        if let Some(keeper) = keeper {
            keeper.keep(&app.metrics, public_stop.clone()).await;
        }
    };
    let public = Door { listener: listeners.public, side: Side::Public, tls: acceptor };
    let public = connections::accept(public, app.clone(), public_stop.clone());
    let operations = Door { listener: listeners.operations, side: Side::Operations, tls: None };
    let watching = connections::stopped(operations_stop.clone());
    let watching = app.dashboard.sample(&app.metrics, || app.scene(), watching);
    let operations = connections::accept(operations, app.clone(), operations_stop);
    let orderly = async {
        let signal = async {
            shutdown.await;
            app.draining.store(true, Ordering::Relaxed);
            sleep(app.settings.drain_wait_ms).await;
            stop_public.send_replace(true);
            Instant::now() + app.settings.drain_ms_max
        };
        let (connections, until) = tokio::join!(public, signal);
        let drained = connections::drain(&app, connections, until).await;
        stop_operations.send_replace(true);
        (drained, until)
    };
    let ((drained, until), connections, (), ()) =
        tokio::join!(orderly, operations, keeping, watching);
    connections::drain(&app, connections, until).await;
    drained
}

/// Answers one request.
async fn respond<B>(app: &App, side: Side, request: Request<B>) -> Response<Outgoing>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (head, body) = request.into_parts();
    let whole = match router::resolve(side, &head.method, head.uri.path()) {
        Ok(Endpoint::Page(page)) => info::page(app, side, page, &head),
        Ok(Endpoint::File(file)) => return operators::file(file, &head),
        Ok(Endpoint::Events) => return operators::events(app, &head),
        Ok(Endpoint::Try) => trial::answer(app, &head, body).await,
        Ok(Endpoint::Rerank(target)) => exchange::answer(app, Ok(target), &head, body).await,
        Err(problem) => exchange::answer(app, Err(problem), &head, body).await,
    };
    whole.map(Outgoing::from)
}
