//! A client that knows little of HTTP, and sends whatever it is told.

use std::time::Duration;

use maitred_tests::server::TestServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::post;

/// Time after which a test calls an answer lost.
pub const LOST: Duration = Duration::from_secs(20);

/// A connection that reads what comes byte for byte.
pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub closes: bool,
    pub body: String,
}

impl Client {
    pub async fn connect(server: &TestServer) -> Client {
        Client { stream: TcpStream::connect(server.public).await.unwrap(), buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The results of a request with nothing wrong with it.
    pub async fn good(&mut self) -> String {
        let body = r#"{"query":"garden gate","texts":["the garden gate","stocks fell"]}"#;
        self.send(post("/rerank", "", body)).await;
        let reply = self.reply(false).await.expect("the connection ended");
        format!("{} {}", reply.status, reply.body)
    }

    /// The next answer; `None` if the connection ends first.
    pub async fn reply(&mut self, head_only: bool) -> Option<Reply> {
        let head = loop {
            let end = self.buffer.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                break String::from_utf8(head).unwrap().to_lowercase();
            }
            self.fill().await?;
        };
        let status = head[9..12].parse().unwrap();
        let header =
            |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let closes = header("connection") == Some("close");
        let length = match head_only {
            true => 0,
            false => header("content-length").map_or(0, |length| length.parse().unwrap()),
        };
        while self.buffer.len() < length {
            self.fill().await?;
        }
        let body: Vec<u8> = self.buffer.drain(..length).collect();
        let body = String::from_utf8(body).unwrap();
        Some(Reply { status, closes, body })
    }

    async fn fill(&mut self) -> Option<()> {
        let read = timeout(LOST, self.stream.read_buf(&mut self.buffer)).await;
        match read.expect("the server neither answers nor closes") {
            Ok(1..) => Some(()),
            Ok(0) | Err(_) => None,
        }
    }
}
