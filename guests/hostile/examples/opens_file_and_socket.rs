//! Reaches for everything that WASI names, and tells what it got hold of.

use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Instant, SystemTime};

use hostile::maitred_sdk::Error;

hostile::guest!(|request, next| {
    let start = Instant::now();
    let mut got = Vec::new();
    let mut reach = |what: &'static str, reached: bool| got.extend(reached.then_some(what));
    reach("a file", std::fs::read("/etc/passwd").is_ok());
    reach("a file of its own", std::fs::write("loot", "x").is_ok());
    reach("a folder", std::fs::read_dir("/").is_ok());
    reach("a folder of its own", std::fs::create_dir("loot").is_ok());
    reach("the working folder", std::fs::read_dir(".").is_ok());
    reach("tcp out", TcpStream::connect("127.0.0.1:80").is_ok());
    reach("tcp in", TcpListener::bind("127.0.0.1:0").is_ok());
    reach("udp", UdpSocket::bind("127.0.0.1:0").is_ok());
    reach("names", ("localhost", 80).to_socket_addrs().is_ok());
    reach("the environment", std::env::vars().next().is_some());
    reach("the arguments", std::env::args().next().is_some());
    let mut line = String::new();
    reach("stdin", std::io::stdin().read_line(&mut line).is_ok_and(|bytes| bytes > 0));
    reach("the time", SystemTime::now() != SystemTime::UNIX_EPOCH);
    reach("a stopwatch", start.elapsed().as_nanos() > 0);
    match got.is_empty() {
        true => next.rerank(request).await,
        false => Err(Error::Denied(got.join(", "))),
    }
});
