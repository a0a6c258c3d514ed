//! The certificate that the public listener shows: read from its files at the
//! start and whenever they change. A new one that is broken is refused and the
//! old one stays: a file that is half written must not end the service.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use x509_cert::der::Decode;

use super::connections::stopped;
use crate::config::TlsSettings;
use crate::metrics::{Listener, Metrics, TlsReload};

/// How often the files are looked at. Both are read whole, which costs nothing
/// at this pace, and unlike times of modification cannot miss a change.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Bytes of a file; a chain of certificates has some thousands.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Reads of the files in one look, until two are the same.
const READS_MAX: usize = 4;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A certificate with less time left is near its end, or one with less than a
/// third of its whole time: those that live for days are renewed that late.
const NEAR: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Why there is no certificate; completes "failed to".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CertificateError(String);

/// What handshakes show now.
#[derive(Debug)]
pub struct Shown(ArcSwap<CertifiedKey>);

impl Shown {
    pub fn now(&self) -> Arc<CertifiedKey> {
        self.0.load_full()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

/// What a look at the files led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Looked {
    Unchanged,
    Replaced,
    Refused(CertificateError),
}

/// Keeps what is shown in step with the files.
pub struct Keeper {
    settings: TlsSettings,
    shown: Arc<Shown>,
    /// The files as they were last looked at, usable or not: a broken one is
    /// reported once and not at every look.
    seen: Result<[u8; 32], CertificateError>,
    lifetime: Option<Lifetime>,
    warned_at: Option<SystemTime>,
}

/// From when until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lifetime {
    from: SystemTime,
    until: SystemTime,
}

/// A certificate with its key, and the files' fingerprint.
struct Loaded {
    key: CertifiedKey,
    lifetime: Option<Lifetime>,
    seen: [u8; 32],
}

impl Keeper {
    /// Reads the files for the first time.
    pub async fn new(settings: &TlsSettings) -> Result<(Arc<Shown>, Keeper), CertificateError> {
        let files = Files::read(settings).await?;
        let loaded = files.load(settings)?;
        let shown = Arc::new(Shown(ArcSwap::from_pointee(loaded.key)));
        let keeper = Keeper {
            settings: settings.clone(),
            shown: shown.clone(),
            seen: Ok(loaded.seen),
            lifetime: loaded.lifetime,
            warned_at: None,
        };
        Ok((shown, keeper))
    }

    /// Looks at the files now and then, until told to stop.
    pub async fn keep(mut self, metrics: &Metrics, stop: watch::Receiver<bool>) {
        let mut stopped = std::pin::pin!(stopped(stop));
        loop {
            self.look(SystemTime::now(), metrics).await;
            tokio::select! {
                () = &mut stopped => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    pub async fn look(&mut self, now: SystemTime, metrics: &Metrics) -> Looked {
        let looked = self.replace(now).await;
        let outcome = match &looked {
            Looked::Unchanged => None,
            Looked::Replaced => {
                tracing::info!("the certificate changed; new connections are shown the new one");
                self.warned_at = None;
                Some("replaced")
            }
            Looked::Refused(error) => {
                tracing::error!("failed to {error}; the certificate before it stays");
                Some("refused")
            }
        };
        if let Some(outcome) = outcome {
            metrics.tls_reloads.get_or_create(&TlsReload { outcome }).inc();
        }
        self.tell_lifetime(now, metrics);
        looked
    }

    async fn replace(&mut self, now: SystemTime) -> Looked {
        let files = Files::read(&self.settings).await;
        let seen = files.as_ref().map(Files::fingerprint).map_err(Clone::clone);
        if seen == self.seen {
            return Looked::Unchanged;
        }
        self.seen = seen;
        let loaded = files.and_then(|files| files.load(&self.settings)).and_then(|loaded| {
            // At the start there is nothing better; here there may be.
            let ended = |lifetime: &Option<Lifetime>| lifetime.is_some_and(|l| l.until <= now);
            match ended(&loaded.lifetime) && !ended(&self.lifetime) {
                true => Err(CertificateError(format!(
                    "use {} (`server.tls.cert`): the certificate expired {} days ago",
                    self.settings.cert.display(),
                    loaded.lifetime.map_or(0, |l| days(l.until, now)),
                ))),
                false => Ok(loaded),
            }
        });
        match loaded {
            Ok(loaded) => {
                self.shown.0.store(Arc::new(loaded.key));
                self.lifetime = loaded.lifetime;
                Looked::Replaced
            }
            Err(error) => Looked::Refused(error),
        }
    }

    /// Tells in metrics when the certificate ends and, once a day, in the log
    /// that the end is near.
    fn tell_lifetime(&mut self, now: SystemTime, metrics: &Metrics) {
        let Some(lifetime) = self.lifetime else {
            return;
        };
        let until = lifetime.until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let listener = Listener { listener: "public" };
        let until = i64::try_from(until.as_secs()).unwrap_or(i64::MAX);
        metrics.tls_certificate_end.get_or_create(&listener).set(until);
        let warned = self.warned_at.is_some_and(|at| now < at + DAY);
        if warned || !lifetime.near_end(now) {
            return;
        }
        self.warned_at = Some(now);
        match lifetime.until > now {
            true => {
                tracing::warn!("the certificate expires in {} days", days(now, lifetime.until));
            }
            false => {
                tracing::error!("the certificate expired {} days ago", days(lifetime.until, now));
            }
        }
    }
}

impl Lifetime {
    fn near_end(self, now: SystemTime) -> bool {
        let whole = self.until.duration_since(self.from).unwrap_or_default();
        let left = self.until.duration_since(now).unwrap_or_default();
        left < NEAR.min(whole / 3)
    }
}

fn days(from: SystemTime, to: SystemTime) -> u64 {
    to.duration_since(from).unwrap_or_default().as_secs() / DAY.as_secs()
}

/// The bytes of both files.
#[derive(PartialEq)]
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    /// The files as they are twice in a row. One that is written in this moment can
    /// be half the old and half the new, and still look like a certificate.
    async fn read(settings: &TlsSettings) -> Result<Files, CertificateError> {
        let settings = settings.clone();
        let read = move || {
            let mut before = Files::read_once(&settings)?;
            for _ in 1..READS_MAX {
                let files = Files::read_once(&settings)?;
                if files == before {
                    return Ok(files);
                }
                before = files;
            }
            let (cert, key) = (settings.cert.display(), settings.key.display());
            Err(CertificateError(format!("read {cert} and {key}: they change while they are read")))
        };
        let read = tokio::task::spawn_blocking(read).await;
        read.map_err(|error| CertificateError(format!("read the certificate: {error}")))?
    }

    fn read_once(settings: &TlsSettings) -> Result<Files, CertificateError> {
        Ok(Files {
            cert: read(&settings.cert, "server.tls.cert")?,
            key: read(&settings.key, "server.tls.key")?,
        })
    }

    fn fingerprint(&self) -> [u8; 32] {
        let digest = |bytes: &[u8]| Sha256::digest(bytes);
        Sha256::new()
            .chain_update(digest(&self.cert))
            .chain_update(digest(&self.key))
            .finalize()
            .into()
    }

    fn load(&self, settings: &TlsSettings) -> Result<Loaded, CertificateError> {
        let (cert, key) = (settings.cert.display(), settings.key.display());
        let unusable = |reason: String| CertificateError(format!("use {reason}"));
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<_, _>>()
            .map_err(|error| unusable(format!("{cert} (`server.tls.cert`): {}", fault(error))))?;
        let Some(leaf) = chain.first() else {
            let reason = "there is no certificate in PEM in it";
            return Err(unusable(format!("{cert} (`server.tls.cert`): {reason}")));
        };
        let lifetime = lifetime(leaf);
        let private = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| unusable(format!("{key} (`server.tls.key`): {}", fault(error))))?;
        let key = CertifiedKey::from_der(chain, private, &default_provider()).map_err(|error| {
            let reason = match error {
                rustls::Error::InconsistentKeys(_) => "it is not the certificate's key".into(),
                error => error.to_string(),
            };
            unusable(format!("{key} (`server.tls.key`) with {cert} (`server.tls.cert`): {reason}"))
        })?;
        Ok(Loaded { key, lifetime, seen: self.fingerprint() })
    }
}

/// What is wrong with a file in PEM; the library shows lines as lists of bytes.
fn fault(error: PemError) -> String {
    match error {
        PemError::NoItemsFound => "there is no private key in PEM without a password in it".into(),
        PemError::MissingSectionEnd { .. } => "it ends in the middle".into(),
        PemError::IllegalSectionStart { .. } => "a section does not begin as in PEM".into(),
        error => error.to_string(),
    }
}

/// `None` for a certificate that rustls shows and our reader does not
/// understand: it serves all the same, and nobody is told of its end.
fn lifetime(leaf: &CertificateDer<'_>) -> Option<Lifetime> {
    let certificate = x509_cert::Certificate::from_der(leaf).ok()?;
    let validity = certificate.tbs_certificate().validity();
    let time =
        |time: x509_cert::time::Time| SystemTime::UNIX_EPOCH.checked_add(time.to_unix_duration());
    Some(Lifetime { from: time(validity.not_before)?, until: time(validity.not_after)? })
}

fn read(path: &Path, key: &str) -> Result<Vec<u8>, CertificateError> {
    let failed = |error: std::io::Error| {
        CertificateError(format!("read {} (`{key}`): {error}", path.display()))
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(CertificateError(format!(
            "read {} (`{key}`): it is over the limit of {FILE_BYTES_MAX} bytes",
            path.display()
        )));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_near_the_end_is() {
        let check = |whole_days: u64, left_hours: i64, near: bool| {
            let from = SystemTime::UNIX_EPOCH;
            let until = from + Duration::from_secs(whole_days * 24 * 3600);
            let now = match u64::try_from(left_hours) {
                Ok(left) => until - Duration::from_secs(left * 3600),
                Err(_) => until + Duration::from_secs(left_hours.unsigned_abs() * 3600),
            };
            let lifetime = Lifetime { from, until };
            assert_eq!(lifetime.near_end(now), near, "{whole_days} days, {left_hours} h left");
        };
        check(90, 15 * 24, false);
        check(90, 14 * 24 - 1, true);
        check(90, -1, true);
        check(6, 49, false);
        check(6, 47, true);
    }
}
