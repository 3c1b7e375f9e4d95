//! A client that writes what it is told, and sees how an answer was framed and how it ended.

use std::{net::SocketAddr, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::LONG;

/// One HTTP/1.1 connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    bytes: BytesMut,
}

/// An answer, as far as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// It ended as its framing says, not with the connection.
    pub whole: bool,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The values of all lines of a field.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|line| line.1.trim())
            .collect()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields(name).first().copied()
    }

    /// What the cache says of it, without its name.
    pub fn cache_status(&self) -> &str {
        let said = self.field("cache-status").unwrap_or_default();
        said.strip_prefix("seawall; ").unwrap_or(said)
    }

    pub fn is_hit(&self) -> bool {
        self.cache_status().starts_with("hit")
    }
}

impl Client {
    pub async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, bytes: BytesMut::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends a request without its last empty line, and reads the answer to its end.
    pub async fn ask(&mut self, head: &str) -> Answer {
        self.send(format!("{head}\r\n")).await;
        self.answer(head.starts_with("HEAD ")).await
    }

    /// Reads one answer to its end, or as far as it comes.
    pub async fn answer(&mut self, to_head: bool) -> Answer {
        let answer = self.answer_if_any(to_head).await;
        answer.unwrap_or_else(|| panic!("no head: {:?}", self.bytes))
    }

    /// Reads one answer; `None` where the connection ends before its head is there.
    pub async fn answer_if_any(&mut self, to_head: bool) -> Option<Answer> {
        let mut answer = self.head_if_any().await?;
        let read = timeout(LONG, self.body(&mut answer, to_head)).await;
        answer.whole = read.unwrap_or_else(|_| panic!("no end of {answer:?}"));
        Some(answer)
    }

    /// Reads a head and no further.
    pub async fn head(&mut self) -> Answer {
        let head = self.head_if_any().await;
        head.unwrap_or_else(|| panic!("no head: {:?}", self.bytes))
    }

    async fn head_if_any(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(at) = find(&self.bytes, b"\r\n\r\n") {
                break at + 4;
            }
            if !timeout(LONG, self.more()).await.expect("a head in time") {
                return None;
            }
        };
        let head = String::from_utf8(self.bytes.split_to(end).to_vec()).unwrap();
        let status = head.get(9..12).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("{head:?}"));
        if (100..200).contains(&status) {
            return Box::pin(self.head_if_any()).await;
        }
        Some(Answer { status, head, body: Vec::new(), whole: false })
    }

    /// Reads until `text` has come, framing and all; `false` where it ends or takes longer.
    pub async fn sees(&mut self, text: &str, within: Duration) -> bool {
        let reading = async {
            loop {
                if let Some(at) = find(&self.bytes, text.as_bytes()) {
                    self.bytes.advance(at + text.len());
                    return true;
                }
                if !self.more().await {
                    return false;
                }
            }
        };
        timeout(within, reading).await.unwrap_or(false)
    }

    /// Reads at most so much of a body without framing; `0` at its end.
    pub async fn some(&mut self, most: usize) -> usize {
        if self.bytes.is_empty() {
            let mut bytes = vec![0; most];
            return timeout(LONG, self.stream.read(&mut bytes)).await.expect("in time").unwrap();
        }
        let held = self.bytes.len().min(most);
        self.bytes.advance(held);
        held
    }

    /// Whether the other side ends the connection without another byte.
    pub async fn is_ended(&mut self) -> bool {
        let more = timeout(LONG, self.more()).await.expect("an end");
        !more && self.bytes.is_empty()
    }

    /// Ends the connection the hard way.
    pub fn reset(self) {
        reset(&self.stream);
    }

    async fn body(&mut self, answer: &mut Answer, to_head: bool) -> bool {
        if to_head || matches!(answer.status, 204 | 304) {
            return true;
        }
        if answer.field("transfer-encoding").is_some_and(|coding| coding.ends_with("chunked")) {
            return self.chunks(&mut answer.body).await;
        }
        match answer.field("content-length").map(|length| length.parse::<usize>().unwrap()) {
            Some(length) => self.take(length, &mut answer.body).await,
            None => {
                while self.more().await {}
                answer.body.extend_from_slice(&self.bytes.split());
                true
            }
        }
    }

    async fn chunks(&mut self, body: &mut Vec<u8>) -> bool {
        loop {
            let Some(line) = self.line().await else { return false };
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            if size == 0 {
                loop {
                    match self.line().await {
                        Some(line) if line.trim().is_empty() => return true,
                        Some(_) => {}
                        None => return false,
                    }
                }
            }
            if !self.take(size, body).await || self.line().await.is_none() {
                return false;
            }
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.bytes.iter().position(|&byte| byte == b'\n') {
                return Some(String::from_utf8_lossy(&self.bytes.split_to(at + 1)).into_owned());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Moves so many bytes into `body`; `false` where the connection ends before.
    async fn take(&mut self, mut length: usize, body: &mut Vec<u8>) -> bool {
        loop {
            let held = self.bytes.len().min(length);
            body.extend_from_slice(&self.bytes.split_to(held));
            length -= held;
            if length == 0 {
                return true;
            }
            if !self.more().await {
                return false;
            }
        }
    }

    async fn more(&mut self) -> bool {
        self.stream.read_buf(&mut self.bytes).await.is_ok_and(|read| read > 0)
    }
}

/// Asks on a connection of its own; `head` is without its last empty line.
pub async fn ask(addr: SocketAddr, head: &str) -> Answer {
    Client::connect(addr).await.ask(head).await
}

/// Asks for a path of the host `a` on a connection of its own.
pub async fn get(addr: SocketAddr, path: &str) -> Answer {
    ask(addr, &format!("GET {path} HTTP/1.1\r\nhost: a\r\n")).await
}

/// What has not been read is lost to the other side, and it is told so.
pub fn reset(stream: &TcpStream) {
    #[allow(
        deprecated,
        reason = "a linger of zero blocks nothing, and older versions have no other"
    )]
    stream.set_linger(Some(Duration::ZERO)).unwrap();
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// A connection of HTTP/2 with prior knowledge.
pub async fn http2(addr: SocketAddr) -> http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A GET for a path of the host `a`.
pub fn request(path: &str) -> Request<Full<Bytes>> {
    Request::get(format!("http://a{path}")).body(Full::default()).unwrap()
}
