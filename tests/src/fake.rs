//! A rerank server (in text-embeddings-inference's dialect) that does as it is
//! told: it takes known times, stalls, fails or lies, and keeps its own books, so
//! that a benchmark can be held to them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// What becomes of the request of that number, from 0.
#[derive(Debug, Clone, Copy)]
pub enum Fate {
    Answer(Duration),
    /// Wrong scores: those of the first two documents are exchanged.
    Lie,
    Fail,
    Refuse,
    /// From now on nobody is answered for so long.
    Stall(Duration),
}

type Fates = Arc<dyn Fn(usize) -> Fate + Send + Sync>;

pub struct Fake {
    pub address: SocketAddr,
    books: Arc<Mutex<Books>>,
    came: watch::Receiver<usize>,
}

#[derive(Default)]
struct Books {
    /// Time from the last byte in to the first byte out.
    answered: Vec<Duration>,
    failed: usize,
    refused: usize,
    /// `traceparent`s that came.
    traces: Vec<String>,
    stalled_until: Option<Instant>,
}

impl Fake {
    pub async fn start(fate: impl Fn(usize) -> Fate + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let books = Arc::new(Mutex::new(Books::default()));
        let (count, came) = watch::channel(0);
        let (fates, count): (Fates, _) = (Arc::new(fate), Arc::new(count));
        let shared = books.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (fates, books, count) = (fates.clone(), shared.clone(), count.clone());
                // A client that goes away ends its connection with an error.
                tokio::spawn(async move {
                    let _ = serve(stream, &fates, &books, &count).await;
                });
            }
        });
        Fake { address, books, came }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Times of what it answered, shortest first.
    pub fn answered(&self) -> Vec<Duration> {
        let mut answered = self.books.lock().unwrap().answered.clone();
        answered.sort();
        answered
    }

    pub fn failed(&self) -> usize {
        self.books.lock().unwrap().failed
    }

    pub fn refused(&self) -> usize {
        self.books.lock().unwrap().refused
    }

    pub fn traces(&self) -> Vec<String> {
        self.books.lock().unwrap().traces.clone()
    }

    /// Waits until so many requests have come.
    pub async fn has_got(&self, requests: usize) {
        self.came.clone().wait_for(|came| *came >= requests).await.unwrap();
    }
}

/// The score of a document is a function of its text, as a model's would be.
fn score(text: &str) -> f64 {
    let logit = (text.bytes().map(u64::from).sum::<u64>() % 1000) as f64 / 100.0 - 7.0;
    1.0 / (1.0 + (-logit).exp())
}

async fn serve(
    stream: TcpStream,
    fates: &Fates,
    books: &Mutex<Books>,
    count: &watch::Sender<usize>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(Request { path, head, body }) = request(&mut stream).await? {
        let came = Instant::now();
        if path != "/rerank" {
            let page = match path.as_str() {
                "/info" => json!({ "version": "fake", "model_id": "fake-model" }),
                _ => json!({}),
            };
            answer(&mut stream, "200 OK", &page).await?;
            continue;
        }
        let mut number = 0;
        count.send_modify(|came| {
            number = *came;
            *came += 1;
        });
        let trace = head.lines().find_map(|line| line.strip_prefix("traceparent: "));
        books.lock().unwrap().traces.extend(trace.map(str::to_owned));
        let stalled = books.lock().unwrap().stalled_until;
        if let Some(until) = stalled {
            sleep_until(until).await;
        }
        let asked: Value = serde_json::from_slice(&body).unwrap();
        let texts = asked["texts"].as_array().unwrap().iter();
        let mut scores: Vec<f64> = texts.map(|text| score(text.as_str().unwrap())).collect();
        match fates(number) {
            Fate::Answer(time) => sleep(time).await,
            Fate::Lie => scores.swap(0, 1),
            Fate::Fail => {
                books.lock().unwrap().failed += 1;
                answer(&mut stream, "500 Internal Server Error", &json!({"error": "told to"}))
                    .await?;
                continue;
            }
            Fate::Refuse => {
                books.lock().unwrap().refused += 1;
                answer(&mut stream, "429 Too Many Requests", &json!({})).await?;
                continue;
            }
            Fate::Stall(time) => {
                let until = Instant::now() + time;
                books.lock().unwrap().stalled_until = Some(until);
                sleep_until(until).await;
            }
        }
        let ranks = scores.iter().enumerate();
        let ranks: Value =
            ranks.map(|(index, score)| json!({"index": index, "score": score})).collect();
        books.lock().unwrap().answered.push(came.elapsed());
        answer(&mut stream, "200 OK", &ranks).await?;
    }
    Ok(())
}

pub(crate) struct Request {
    pub path: String,
    /// In lower case.
    pub head: String,
    pub body: Vec<u8>,
}

/// The next request; `None` at the connection's end.
pub(crate) async fn request(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return Ok(None),
        }
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let path = head.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.map_or(0, |length| length.trim().parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some(Request { path, head, body }))
}

async fn answer(
    stream: &mut BufReader<TcpStream>,
    status: &str,
    body: &Value,
) -> std::io::Result<()> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await
}
