//! A peer that says what a test wants said.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::store::redis::node::Task;

/// Answers each command of each connection; ends with this.
pub(super) struct Peer {
    pub(super) port: u16,
    connections: Arc<AtomicUsize>,
    _task: Task,
}

/// What it says to a command.
pub(super) enum Say {
    This(Vec<u8>),
    Late(Duration, Vec<u8>),
    /// And it hangs up.
    Last(Vec<u8>),
}

impl Say {
    pub(super) fn this(reply: &str) -> Self {
        Self::This(reply.as_bytes().to_vec())
    }
}

impl Peer {
    /// `answer` is given the number of the connection, and the words of the command.
    pub(super) async fn start(
        answer: impl Fn(usize, &[String]) -> Say + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answer, connections) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&connections);
        let task = Task::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::Relaxed);
                let answer = Arc::clone(&answer);
                open.spawn(async move { talk(stream, |words| answer(number, words)).await });
            }
        });
        Self { port, connections, _task: task }
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn talk(stream: TcpStream, answer: impl Fn(&[String]) -> Say) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let count = number(&mut stream).await?;
        let mut words = Vec::new();
        for _ in 0..count {
            let mut word = vec![0; number(&mut stream).await? + 2];
            stream.read_exact(&mut word).await.ok()?;
            words.push(String::from_utf8_lossy(&word).trim_end().to_owned());
        }
        let greeting = words[0] == "CLIENT";
        match if greeting { Say::this("+OK\r\n") } else { answer(&words) } {
            Say::This(reply) => stream.write_all(&reply).await.ok()?,
            Say::Late(wait, reply) => {
                sleep(wait).await;
                stream.write_all(&reply).await.ok()?;
            }
            Say::Last(reply) => {
                stream.write_all(&reply).await.ok()?;
                return None;
            }
        }
    }
}

/// The number behind a `*` or a `$`.
async fn number(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.trim_end().get(1..)?.parse().ok()
}
