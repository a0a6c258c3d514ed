//! TLS in front of the public listener. A handshake is a part of a connection
//! like any other: in its own task, within the connection cap, and in bounded
//! time.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::App;
use super::certificate::{CertificateError, Keeper};
use crate::config::TlsSettings;

/// A certificate that is kept in step with its files, and what shows it.
pub struct Tls {
    pub(super) acceptor: TlsAcceptor,
    pub(super) keeper: Keeper,
}

impl Tls {
    /// Reads the certificate and its key; both must be usable.
    pub async fn load(settings: &TlsSettings) -> Result<Tls, CertificateError> {
        let (shown, keeper) = Keeper::new(settings).await?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has cipher suites for TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(shown);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), keeper })
    }
}

/// Shakes hands with a peer, in the time that it has for a head. `None` if it
/// speaks no TLS, or not in time; it is not told more than rustls' alert.
pub async fn shake<S>(tls: &TlsAcceptor, stream: S, app: &App) -> Option<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let within = app.settings.read_ms_max;
    let reason = match timeout(within, tls.accept(stream)).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it took longer than {} ms", within.as_millis()),
    };
    app.metrics.tls_handshakes_failed.inc();
    tracing::debug!(reason, "a TLS handshake failed");
    None
}
