//! A gateway to talk to, origins to put behind it, and plain ways to talk.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::timeout,
};

/// Long enough for anything that is to happen at all.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// An example, which `cargo test` builds beside the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("examples");
    path.push(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "first: cargo build --all-features --example {name}");
    path
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(example("gateway"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SEAWALL_") {
            command.env_remove(name);
        }
    }
    command.args(args);
    command
}

/// Runs a gateway that is not expected to stay.
pub(crate) fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    command(args).envs(env.iter().copied()).output().unwrap()
}

/// A running gateway, killed when dropped.
pub(crate) struct Gateway {
    pub(crate) child: Child,
    pub(crate) addr: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Gateway {
    /// Starts it on free ports with further flags.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut all = vec!["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        all.extend(args);
        let mut child = command(&all).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut printed = |prefix: &str| {
            let line = lines.next().unwrap().unwrap();
            line.strip_prefix(prefix).unwrap_or_else(|| panic!("{line:?}")).parse().unwrap()
        };
        let addr = printed("listening on http://");
        let admin = printed("admin on http://");
        Self { child, addr, admin }
    }

    /// Starts it in front of an origin.
    pub(crate) fn before(origin: SocketAddr, args: &[&str]) -> Self {
        let url = format!("http://{origin}");
        let mut all = vec!["--origin", &url];
        all.extend(args);
        Self::start(&all)
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Waits for its end and returns its exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        for _ in 0..400 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("still running");
    }

    pub(crate) async fn status(&self) -> serde_json::Value {
        json(&ask(self.admin, "GET /status HTTP/1.1\r\nhost: localhost\r\n").await)
    }

    /// Waits until the status says so.
    pub(crate) async fn until(&self, what: impl Fn(&serde_json::Value) -> bool) {
        let says = async {
            while !what(&self.status().await) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, says).await.expect("that status");
    }

    /// What a client is answered, once what was fetched for it is stored.
    pub(crate) async fn ask(&self, head: &str) -> String {
        let answer = ask(self.addr, head).await;
        self.until(|status| status["flights"] == 0).await;
        answer
    }

    /// The same for a GET from the host `a`.
    pub(crate) async fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n")).await
    }

    /// What the operator is answered.
    pub(crate) async fn invalidate(&self, query: &str) -> String {
        let head = format!("POST /invalidate?{query} HTTP/1.1\r\nhost: localhost\r\n");
        ask(self.admin, &head).await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a head (without its last empty line) on a connection of its own; all that comes back.
pub(crate) async fn ask(addr: SocketAddr, head: &str) -> String {
    talk(addr, format!("{head}connection: close\r\n\r\n").as_bytes()).await
}

/// Sends bytes on a connection of its own; all that comes back until it ends.
pub(crate) async fn talk(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    timeout(LONG, stream.read_to_end(&mut answer)).await.expect("an end").unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status of an answer as text.
pub(crate) fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

/// The value of a field of an answer as text; empty where there is none.
pub(crate) fn field<'a>(answer: &'a str, name: &str) -> &'a str {
    let head = answer.split_once("\r\n\r\n").map_or(answer, |(head, _)| head);
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
}

/// The body of an answer as JSON.
pub(crate) fn json(answer: &str) -> serde_json::Value {
    let body = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}")).1;
    serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer:?}"))
}

/// An origin that answers every request with the same bytes, and tells what it was sent: the
/// head, and whatever of the body came with it.
pub(crate) async fn scripted(
    answer: &'static str,
) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (addr, _, told) = changing(answer).await;
    (addr, told)
}

/// The same, and what it answers can be changed.
pub(crate) async fn changing(
    first: &str,
) -> (SocketAddr, watch::Sender<String>, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (says, answer) = watch::channel(first.to_owned());
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (tell, answer) = (tell.clone(), answer.clone());
            tokio::spawn(async move {
                while let Some(request) = read_head(&mut stream).await {
                    let _ = tell.send(request);
                    let bytes = answer.borrow().clone();
                    stream.write_all(bytes.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (addr, says, told)
}

/// Reads until the end of a head; `None` at the end of the connection.
pub(crate) async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads until the text has come.
pub(crate) async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut bytes = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&bytes).contains(text) {
            assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "ended before {text:?}");
        }
    };
    timeout(LONG, read).await.unwrap_or_else(|_| panic!("no {text:?}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A request over HTTP/2 with prior knowledge, on a connection of its own.
pub(crate) async fn ask_h2(addr: SocketAddr, request: Request<Sent>) -> Response<Incoming> {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    timeout(LONG, sender.send_request(request)).await.expect("an answer").unwrap()
}

/// A body to send.
pub(crate) type Sent = BoxBody<Bytes, std::convert::Infallible>;

pub(crate) fn nothing() -> Sent {
    Full::default().boxed()
}

/// A body without length, followed by trailers.
pub(crate) fn with_trailers(text: &'static str, name: &'static str, value: &'static str) -> Sent {
    let trailers = async move {
        let mut trailers = HeaderMap::new();
        trailers.insert(name, value.parse().unwrap());
        Some(Ok(trailers))
    };
    // The mapping hides the length, so that HTTP/1.1 sends it in chunks.
    Unsized(Full::from(text)).with_trailers(trailers).boxed()
}

struct Unsized(Full<Bytes>);

impl http_body::Body for Unsized {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(cx)
    }
}

/// An HTTP/2 origin: answers what `answer` makes of a request whose body has been read, trailers
/// included.
pub(crate) async fn h2_origin<F>(answer: F) -> SocketAddr
where
    F: Fn(Request<(Bytes, Option<HeaderMap>)>) -> Response<Sent> + Clone + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let answer = answer.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await?;
                    let trailers = body.trailers().cloned();
                    let request = Request::from_parts(head, (body.to_bytes(), trailers));
                    Ok::<_, hyper::Error>(answer(request))
                }
            });
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    addr
}
