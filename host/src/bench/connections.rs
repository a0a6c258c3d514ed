//! Connections to a server that are kept, with what it takes to be let in.

use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Pool, Error};
use hyper_util::rt::TokioExecutor;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::workload::Access;

pub struct Connections {
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
    authorization: Option<HeaderValue>,
}

impl Connections {
    pub fn new(access: &Access) -> anyhow::Result<Connections> {
        let mut connector = HttpConnector::new();
        // A body that waits for the acknowledgement of its head would be measured.
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(access)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let pool = Pool::builder(TokioExecutor::new()).build(connector);
        Ok(Connections { pool, authorization: authorization(access)? })
    }

    pub async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Error> {
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        self.pool.request(request).await
    }
}

fn tls(access: &Access) -> anyhow::Result<ClientConfig> {
    let mut authorities = RootCertStore::empty();
    match &access.ca_file {
        None => authorities.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(file) => {
            let failed = || format!("failed to read the certificates in {}", file.display());
            let certificates = CertificateDer::pem_file_iter(file).with_context(failed)?;
            for certificate in certificates {
                authorities.add(certificate.with_context(failed)?).with_context(failed)?;
            }
            anyhow::ensure!(!authorities.is_empty(), "{} has no certificate", file.display());
        }
    }
    let provider = Arc::new(ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities)
        .with_no_client_auth())
}

fn authorization(access: &Access) -> anyhow::Result<Option<HeaderValue>> {
    let Some(name) = &access.key_env else { return Ok(None) };
    let key = std::env::var(name)
        .with_context(|| format!("`target.key_env` names {name}, which is not set"))?;
    let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
        .with_context(|| format!("{name} holds no API key"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}
