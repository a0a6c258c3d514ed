//! The same clients under TLS: handshakes, certificates that change, and peers
//! that dawdle or leave.

use std::path::PathBuf;
use std::time::SystemTime;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::ClientConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::http2::{http2, http2_json, http2_post};
use super::*;
use crate::config::TlsSettings;
use crate::http::certificate::{Keeper, Looked};
use crate::http::connections::converse_tls;

/// A certificate's files.
struct Files {
    folder: TempDir,
}

impl Files {
    /// With a first certificate.
    fn new() -> (Files, CertificateDer<'static>) {
        let files = Files { folder: tempfile::tempdir().unwrap() };
        let certificate = files.write(4096);
        (files, certificate)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self) -> TlsSettings {
        TlsSettings { cert: self.path("cert.pem"), key: self.path("key.pem") }
    }

    /// Writes another certificate, valid until that year, and its key.
    fn write(&self, until: i32) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["maitred.test".to_owned()]).unwrap();
        params.not_after = date_time_ymd(until, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(self.path("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
        certificate.der().clone()
    }
}

/// A client that trusts this certificate alone.
fn connector(trusted: &CertificateDer<'static>, alpn: &[&str]) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

async fn shake<S>(
    stream: S,
    trusted: &CertificateDer<'static>,
    alpn: &[&str],
) -> std::io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from("maitred.test").unwrap();
    connector(trusted, alpn).connect(name, stream).await
}

async fn serve_tls(app: Arc<App>) -> (Server, Files, CertificateDer<'static>) {
    let (files, certificate) = Files::new();
    let tls = Tls::load(&files.settings()).await.unwrap();
    (Server::start_with(app, Some(tls)).await, files, certificate)
}

impl Server {
    async fn tls_client(&self, trusted: &CertificateDer<'static>) -> Client<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.public).await.unwrap();
        Client::new(shake(stream, trusted, &["http/1.1"]).await.unwrap())
    }
}

/// A connection in memory to an acceptor with this certificate.
async fn in_memory_tls(app: &Arc<App>, files: &Files) -> (DuplexStream, watch::Sender<bool>) {
    let tls = Tls::load(&files.settings()).await.unwrap();
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(converse_tls(theirs, tls.acceptor, Side::Public, app.clone(), stopped));
    (ours, stop)
}

#[tokio::test]
async fn both_versions_of_http_are_spoken() {
    let (server, _files, certificate) = serve_tls(app(reader(), |_| ())).await;
    let mut client = server.tls_client(&certificate).await;
    assert_eq!(client.stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let reply = client.post("/rerank", "", TEI).await;
    assert_eq!(reply.body, r#"[{"index":1,"score":0.75},{"index":0,"score":0.25}]"#);
    assert_eq!(client.post("/rerank", "", TEI).await.status, 200, "the connection serves on");

    let stream = TcpStream::connect(server.public).await.unwrap();
    let stream = shake(stream, &certificate, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut sender = http2(stream).await;
    let (status, body) = http2_json(&mut sender, http2_post("/rerank", TEI)).await;
    assert_eq!((status, body[0]["index"].clone()), (200, json!(1)));

    // A client that knows no ALPN, and operators, who come in clear.
    let stream = TcpStream::connect(server.public).await.unwrap();
    let mut client = Client::new(shake(stream, &certificate, &[]).await.unwrap());
    assert_eq!(client.get("/health").await.status, 200);
    assert_eq!(server.operator().await.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn whoever_speaks_no_tls_is_turned_away() {
    let (server, _files, certificate) = serve_tls(app(reader(), |_| ())).await;
    let mut clear = server.client().await;
    clear.send(post("/rerank", "", TEI)).await;
    while clear.fill().await.is_some() {}
    assert!(!clear.buffer.starts_with(b"HTTP"), "{:?}", clear.buffer);
    wait_until(|| server.app.metrics.tls_handshakes_failed.get() == 1).await;
    wait_until(|| server.app.metrics.connections.get() == 0).await;
    // A client that trusts another certificate leaves by itself.
    let (_other, stranger) = Files::new();
    let stream = TcpStream::connect(server.public).await.unwrap();
    shake(stream, &stranger, &[]).await.unwrap_err();
    wait_until(|| server.app.metrics.connections.get() == 0).await;
    assert_eq!(server.tls_client(&certificate).await.get("/health").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_slow_handshake_is_cut_off() {
    let (files, certificate) = Files::new();
    let app = app(reader(), |_| ());
    for hello in [&b""[..], &[0x16, 3, 1]] {
        let (mut slow, _stop) = in_memory_tls(&app, &files).await;
        let began = Instant::now();
        slow.write_all(hello).await.unwrap();
        wait_until(|| app.metrics.connections.get() == 1).await;
        let mut client = Client::new(slow);
        while client.fill().await.is_some() {}
        assert_eq!(began.elapsed().as_secs(), 10, "{hello:?}");
        wait_until(|| app.metrics.connections.get() == 0).await;
    }
    assert_eq!(app.metrics.tls_handshakes_failed.get(), 2);
    // After the handshake the head has its own time.
    let (stream, _stop) = in_memory_tls(&app, &files).await;
    let mut client = Client::new(shake(stream, &certificate, &[]).await.unwrap());
    let began = Instant::now();
    client.send("POST /rer").await;
    while client.fill().await.is_some() {}
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(app.metrics.connections_refused.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut_off() {
    let (files, certificate) = Files::new();
    let app = app(reader(), |_| ());
    let (stream, _stop) = in_memory_tls(&app, &files).await;
    let mut client = Client::new(shake(stream, &certificate, &[]).await.unwrap());
    let text = "x".repeat(400_000);
    let body = json!({"query": "q", "texts": [text], "return_text": true}).to_string();
    client.send(post("/rerank", "", &body)).await;
    client.stream.flush().await.unwrap();
    wait_until(|| app.metrics.requests_in_flight.get() == 0).await;
    let began = Instant::now();
    while app.metrics.connections.get() > 0 {
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert_eq!(began.elapsed().as_secs(), 85, "idle, then told to leave");
}

/// Neither do handshakes keep others out, nor are they free.
#[tokio::test]
async fn handshakes_run_side_by_side_within_the_cap() {
    let (server, _files, certificate) = serve_tls(app(reader(), |s| s.connections_max = 2)).await;
    let stuck = TcpStream::connect(server.public).await.unwrap();
    wait_until(|| server.app.metrics.connections.get() == 1).await;
    let mut second = server.tls_client(&certificate).await;
    assert_eq!(second.get("/health").await.status, 200);
    let third = tokio::spawn({
        let (public, certificate) = (server.public, certificate.clone());
        async move {
            let stream = TcpStream::connect(public).await.unwrap();
            shake(stream, &certificate, &[]).await.unwrap()
        }
    });
    assert_eq!(second.get("/health").await.status, 200);
    assert_eq!(server.app.metrics.connections.get(), 2, "the third waits for room");
    assert!(!third.is_finished());
    drop(stuck);
    assert_eq!(Client::new(third.await.unwrap()).get("/health").await.status, 200);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_request() {
    let (gate, stage) = gate();
    let (server, _files, certificate) = serve_tls(app(stage, |_| ())).await;
    let mut client = server.tls_client(&certificate).await;
    client.send(post("/rerank", "", TEI)).await;
    client.stream.flush().await.unwrap();
    gate.entered.notified().await;
    // Without a word of goodbye, as a machine that lost its power.
    drop(client);
    gate.dropped.notified().await;
    wait_until(|| server.app.metrics.requests_in_flight.get() == 0).await;
}

#[tokio::test]
async fn draining_finishes_what_was_admitted_and_ends_handshakes() {
    let (gate, stage) = gate();
    let (server, _files, certificate) = serve_tls(app(stage, |_| ())).await;
    let mut idle = server.tls_client(&certificate).await;
    assert_eq!(idle.get("/health").await.status, 200);
    let mut shaking = Client::new(TcpStream::connect(server.public).await.unwrap());
    wait_until(|| server.app.metrics.connections.get() == 2).await;
    let mut busy = server.tls_client(&certificate).await;
    busy.send(post("/rerank", "", TEI)).await;
    busy.stream.flush().await.unwrap();
    gate.entered.notified().await;

    server.stop.send(()).unwrap();
    assert!(idle.closed().await, "an idle connection ends at once");
    assert!(shaking.closed().await, "so does a handshake");
    gate.open.notify_one();
    assert_eq!(busy.reply().await.status, 200);
    assert!(busy.closed().await);
    assert_eq!(server.done.await.unwrap(), Drained::default());
}

#[tokio::test]
async fn a_changed_certificate_is_shown_and_a_broken_one_is_not() {
    let (files, first) = Files::new();
    let (shown, mut keeper) = Keeper::new(&files.settings()).await.unwrap();
    let metrics = Metrics::new();
    let now = SystemTime::now();
    let leaf = || shown.now().cert[0].clone();
    assert_eq!(keeper.look(now, &metrics).await, Looked::Unchanged);
    assert_eq!(leaf(), first);

    let second = files.write(4095);
    assert_eq!(keeper.look(now, &metrics).await, Looked::Replaced);
    assert_eq!(keeper.look(now, &metrics).await, Looked::Unchanged);
    assert_eq!(leaf(), second);

    let good = ["cert.pem", "key.pem"].map(|name| std::fs::read(files.path(name)).unwrap());
    let mut check = async |name: &str, content: Option<&[u8]>, expected: &str| {
        match content {
            Some(content) => std::fs::write(files.path(name), content).unwrap(),
            None => std::fs::remove_file(files.path(name)).unwrap(),
        }
        let Looked::Refused(error) = keeper.look(now, &metrics).await else {
            panic!("{name} was taken");
        };
        let error = error.to_string();
        assert!(error.contains(expected) && error.contains(name), "{error}");
        assert_eq!(keeper.look(now, &metrics).await, Looked::Unchanged, "reported once");
        assert_eq!(leaf(), second);
        for (name, content) in ["cert.pem", "key.pem"].iter().zip(&good) {
            std::fs::write(files.path(name), content).unwrap();
        }
        assert_eq!(keeper.look(now, &metrics).await, Looked::Replaced, "the good one again");
    };
    let other = Files::new().0;
    let other_key = std::fs::read(other.path("key.pem")).unwrap();
    let expired = Files::new().0;
    expired.write(2001);
    check("cert.pem", None, "read ").await;
    check("cert.pem", Some(b""), "there is no certificate in PEM in it").await;
    check("cert.pem", Some(&good[0][..good[0].len() / 2]), "it ends in the middle").await;
    check("cert.pem", Some(&good[1]), "there is no certificate in PEM in it").await;
    check("key.pem", Some(&good[0]), "there is no private key in PEM without a password").await;
    check("key.pem", Some(&other_key), "it is not the certificate's key").await;
    check("key.pem", Some(&vec![b'x'; 2 << 20]), "over the limit of 1048576 bytes").await;

    for name in ["cert.pem", "key.pem"] {
        std::fs::copy(expired.path(name), files.path(name)).unwrap();
    }
    let Looked::Refused(error) = keeper.look(now, &metrics).await else {
        panic!("an expired certificate took the place of a good one");
    };
    assert!(error.to_string().contains("expired"), "{error}");
    let text = metrics.render();
    for line in [
        r#"maitred_tls_reloads_total{outcome="refused"} 8"#,
        r#"maitred_tls_reloads_total{outcome="replaced"} 8"#,
        // The first of January 4095.
        r#"maitred_tls_certificate_end_seconds{listener="public"} 67058582400"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn a_broken_certificate_is_refused_at_the_start() {
    let (files, _) = Files::new();
    std::fs::write(files.path("key.pem"), "nothing").unwrap();
    let error = Tls::load(&files.settings()).await.err().unwrap().to_string();
    assert!(error.contains("key.pem (`server.tls.key`)"), "{error}");
}

/// The whole way: files change beside a server, and the next connection sees it.
#[tokio::test(start_paused = true)]
async fn new_connections_are_shown_the_new_certificate() {
    let (files, first) = Files::new();
    let tls = Tls::load(&files.settings()).await.unwrap();
    let app = app(reader(), |_| ());
    let (stop, stopped) = watch::channel(false);
    let keeping = tokio::spawn({
        let (app, stopped) = (app.clone(), stopped.clone());
        async move { tls.keeper.keep(&app.metrics, stopped).await }
    });
    let connect = |trusted: CertificateDer<'static>| {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (tls, app) = (tls.acceptor.clone(), app.clone());
        tokio::spawn(converse_tls(theirs, tls, Side::Public, app, stopped.clone()));
        async move { shake(ours, &trusted, &[]).await }
    };
    let mut before = Client::new(connect(first.clone()).await.unwrap());
    assert_eq!(before.get("/health").await.status, 200);
    let second = files.write(4095);
    let replaced = r#"maitred_tls_reloads_total{outcome="replaced"} 1"#;
    let began = Instant::now();
    while !app.metrics.render().contains(replaced) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(began.elapsed().as_secs() <= 20, "{:?}", began.elapsed());
    let mut after = Client::new(connect(second).await.unwrap());
    assert_eq!(after.get("/health").await.status, 200);
    assert_eq!(before.get("/health").await.status, 200, "one from before goes on");
    connect(first).await.unwrap_err();
    stop.send(true).unwrap();
    keeping.await.unwrap();
}
