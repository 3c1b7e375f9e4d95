//! The origin: a TCP server that notes every byte it is asked, and plays what a row says.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    bytes::{CUT, NOBODY, chunks, decoded, encoded, find},
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
}

struct State {
    plays: Origin,
    /// The path that the row's texts call ROW.
    name: String,
    seen: Vec<Seen>,
}

impl Raw {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let plays = Origin::Plays(Vec::new());
        let state = State { plays, name: String::new(), seen: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { addr, state }
    }

    /// From now on it plays another row.
    pub(crate) fn plays(&self, plays: &Origin, name: &str) {
        *lock(&self.state) = State { plays: plays.clone(), name: name.to_owned(), seen: vec![] };
    }

    /// What it was asked since.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.state).seen.clone()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap()
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut bytes = Vec::new();
    while let Some(seen) = read(&mut stream, &mut bytes).await {
        let (answer, ends) = {
            let mut state = lock(&state);
            state.seen.push(seen.clone());
            answer(&state, &seen)
        };
        if stream.write_all(&answer).await.is_err() || ends {
            return;
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

/// What is answered, and whether the connection ends with it.
fn answer(state: &State, seen: &Seen) -> (Vec<u8>, bool) {
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
    match text.strip_suffix(CUT) {
        Some(text) => (encoded(text), true),
        None => (encoded(&text), false),
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
