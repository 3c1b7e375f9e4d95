//! The origin: a TCP server that notes every byte it is asked, and plays what a row says.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{
    bytes::{CUT, LATER, NOBODY, chunks, decoded, encoded, find},
    row::Origin,
};

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub(crate) fn fields<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
    }

    fn user(&self) -> &str {
        self.fields("x-user").next().unwrap_or(NOBODY)
    }
}

pub(crate) struct Raw {
    pub(crate) addr: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Tells connections to send what they hold back; they tell when they have.
    later: watch::Sender<usize>,
    sent: watch::Receiver<usize>,
}

/// One connection's ends of the same.
#[derive(Clone)]
struct Later {
    asked: watch::Receiver<usize>,
    done: watch::Sender<usize>,
}

struct State {
    plays: Origin,
    /// The path that the row's texts call ROW.
    name: String,
    seen: Vec<Seen>,
    /// How many connections there have been since the beginning.
    connections: usize,
}

impl Raw {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let plays = Origin::Plays(Vec::new());
        let state = State { plays, name: String::new(), seen: Vec::new(), connections: 0 };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let ((later, asked), (done, sent)) = (watch::channel(0), watch::channel(0));
        let ends = Later { asked, done };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // What is sent later is not to wait for the gateway's next bytes.
                stream.set_nodelay(true).unwrap();
                lock(&shared).connections += 1;
                tokio::spawn(serve(stream, Arc::clone(&shared), ends.clone()));
            }
        });
        Self { addr, state, later, sent }
    }

    /// From now on it plays another row.
    pub(crate) fn plays(&self, plays: &Origin, name: &str) {
        let mut state = lock(&self.state);
        state.plays = plays.clone();
        state.name = name.to_owned();
        state.seen.clear();
    }

    /// Sends what was held back, and returns when it is underway.
    pub(crate) async fn send_the_rest(&self) {
        let before = *self.sent.borrow();
        self.later.send_modify(|asked| *asked += 1);
        self.sent.clone().wait_for(|sent| *sent > before).await.unwrap();
    }

    pub(crate) fn connections(&self) -> usize {
        lock(&self.state).connections
    }

    /// What it was asked since.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.state).seen.clone()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap()
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>, mut later: Later) {
    let mut bytes = Vec::new();
    while let Some(seen) = read(&mut stream, &mut bytes).await {
        let (answer, rest, ends) = {
            let mut state = lock(&state);
            state.seen.push(seen.clone());
            answer(&state, &seen)
        };
        later.asked.mark_unchanged();
        if stream.write_all(&answer).await.is_err() || ends {
            return;
        }
        if let Some(rest) = rest {
            later.asked.changed().await.unwrap();
            let _ = stream.write_all(&rest).await;
            later.done.send_modify(|sent| *sent += 1);
        }
    }
}

/// The next request; `None` at the end of the connection.
async fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Seen> {
    let end = until(stream, bytes, b"\r\n\r\n").await? + 4;
    let head = decoded(&bytes[..end]);
    bytes.drain(..end);
    let mut seen = Seen { head, body: String::new() };
    let length = seen.fields("content-length").next().and_then(|length| length.parse().ok());
    if seen.fields("transfer-encoding").next().is_some() {
        seen.body = loop {
            if let (body, rest, true) = chunks(bytes) {
                *bytes = rest.to_vec();
                break decoded(&body);
            }
            more(stream, bytes).await?;
        };
    } else if let Some(length) = length {
        while bytes.len() < length {
            more(stream, bytes).await?;
        }
        seen.body = decoded(&bytes[..length]);
        bytes.drain(..length);
    }
    Some(seen)
}

async fn until(stream: &mut TcpStream, bytes: &mut Vec<u8>, what: &[u8]) -> Option<usize> {
    loop {
        if let Some(end) = find(bytes, what) {
            return Some(end);
        }
        more(stream, bytes).await?;
    }
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    (stream.read_buf(bytes).await.ok()? > 0).then_some(())
}

/// What is answered, what is held back of it, and whether the connection ends with it.
fn answer(state: &State, seen: &Seen) -> (Vec<u8>, Option<Vec<u8>>, bool) {
    let user = seen.user();
    let call = state.seen.len();
    let text = match &state.plays {
        Origin::Echo(status, fields) => echo(*status, fields, seen, call),
        Origin::Plays(plays) => {
            let play = plays.get(call - 1).or(plays.last()).expect("a play");
            play.replace("USER", user)
        }
    };
    let text = text.replace("ROW", &state.name);
    if let Some((text, rest)) = text.split_once(LATER) {
        return (encoded(text), Some(encoded(rest)), false);
    }
    match text.strip_suffix(CUT) {
        Some(text) => (encoded(text), None, true),
        None => (encoded(&text), None, false),
    }
}

fn echo(status: u16, fields: &str, seen: &Seen, call: usize) -> String {
    let user = seen.user();
    let asked = seen.head.replace("\r\n", "␊");
    let body = format!("for {user}, call {call}␊{asked}{}", seen.body.replace("\r\n", "␊"));
    let fields = match fields {
        "" => String::new(),
        fields => format!("{fields}\n"),
    };
    let head = format!("HTTP/1.1 {status} Said\n{fields}x-for: {user}\n");
    let length = encoded(&body).len();
    match status {
        204 | 304 => format!("{head}\n"),
        _ if seen.line().starts_with("HEAD ") => format!("{head}content-length: {length}\n\n"),
        _ => format!("{head}content-length: {length}\n\n{body}"),
    }
}
