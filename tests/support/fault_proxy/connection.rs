//! One client, and the server as it sees it.

use std::{
    io::{self, ErrorKind},
    net::Shutdown,
    os::fd::AsFd,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{Fault, Order, Shared, replies::Replies};

/// How a connection ends.
pub enum End {
    /// As its client wanted.
    Done,
    Cut,
    Reset,
    Unreachable,
}

pub async fn run(
    shared: Arc<Shared>,
    client: TcpStream,
    number: u64,
    mut orders: mpsc::UnboundedReceiver<(Order, oneshot::Sender<()>)>,
) {
    let half_closed = AtomicBool::new(false);
    let mut told = None;
    let end = {
        let mut relayed = pin!(relay(&shared, &client, number, &half_closed));
        loop {
            tokio::select! {
                biased;
                Some((order, done)) = orders.recv() => match order {
                    Order::HalfClose => {
                        half_closed.store(true, Ordering::SeqCst);
                        let _ = shut_down(&client);
                        shared.count(|counts| counts.half_closed += 1);
                        let _ = done.send(());
                    }
                    Order::Cut | Order::Reset => {
                        told = Some(done);
                        break if order == Order::Cut { End::Cut } else { End::Reset };
                    }
                },
                end = &mut relayed => break end,
            }
        }
    };
    match end {
        End::Done => {}
        End::Cut => {
            // What is unread would make it a reset.
            while client.try_read(&mut [0; 4096]).is_ok_and(|length| length > 0) {}
            let _ = shut_down(&client);
            shared.count(|counts| counts.cut += 1);
        }
        End::Reset => {
            let _ = client.set_zero_linger();
            shared.count(|counts| counts.reset += 1);
        }
        End::Unreachable => {
            let _ = client.set_zero_linger();
            shared.count(|counts| counts.unreachable += 1);
        }
    }
    drop(client);
    if let Some(told) = told {
        let _ = told.send(());
    }
}

async fn relay(shared: &Shared, client: &TcpStream, number: u64, half_closed: &AtomicBool) -> End {
    hold(shared).await;
    let Ok(server) = TcpStream::connect(shared.server).await else { return End::Unreachable };
    if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
        return End::Unreachable;
    }
    let (requests, requested) = mpsc::channel(QUEUE);
    let (replies, replied) = mpsc::channel(QUEUE);
    let ended = tokio::try_join!(
        read(shared, client, requests, |fault| match fault {
            Fault::Latency { requests, .. } => requests,
            _ => Duration::ZERO,
        }),
        write_requests(shared, requested, &server),
        read(shared, &server, replies, |fault| match fault {
            Fault::Latency { replies, .. } => replies,
            _ => Duration::ZERO,
        }),
        Replies::new(shared, client, number, half_closed).write(replied),
    );
    ended.map_or_else(|end| end, |_| End::Done)
}

/// Waits while there is a black hole.
pub async fn hold(shared: &Shared) {
    if shared.fault() == Fault::BlackHole {
        shared.count(|counts| counts.held += 1);
        shared.over(Fault::BlackHole).await;
    }
}

/// How many reads may be on their way.
const QUEUE: usize = 1024;

/// What was read, nothing at its end, and when it is to arrive.
pub struct Part {
    pub due: Instant,
    pub read: io::Result<Vec<u8>>,
}

/// Reads to the end.
async fn read(
    shared: &Shared,
    from: &TcpStream,
    queue: mpsc::Sender<Part>,
    latency: impl Fn(Fault) -> Duration,
) -> Result<(), End> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = read_some(from, &mut buffer).await.map(|length| buffer[..length].to_vec());
        let latency = latency(shared.fault());
        if latency > Duration::ZERO {
            shared.count(|counts| counts.delayed += 1);
        }
        let last = !matches!(&read, Ok(bytes) if !bytes.is_empty());
        let part = Part { due: Instant::now() + latency, read };
        if queue.send(part).await.is_err() || last {
            return Ok(());
        }
    }
}

async fn write_requests(
    shared: &Shared,
    mut queue: mpsc::Receiver<Part>,
    server: &TcpStream,
) -> Result<(), End> {
    let mut pace = Pace::new();
    while let Some(part) = queue.recv().await {
        sleep_until(part.due).await;
        hold(shared).await;
        let bytes = part.read.map_err(|_| End::Done)?;
        if bytes.is_empty() {
            let _ = shut_down(server);
        }
        let mut left = &bytes[..];
        pace.start(shared);
        while !left.is_empty() {
            let piece;
            (piece, left) = left.split_at(pace.wait(shared.fault(), left.len()).await);
            write_all(server, piece).await.map_err(|_| End::Unreachable)?;
            shared.count(|counts| counts.requests += piece.len() as u64);
        }
    }
    Ok(())
}

/// Spreads bytes over time as [`Fault::Bandwidth`] has it.
pub struct Pace {
    free: Instant,
}

impl Pace {
    pub fn new() -> Self {
        Self { free: Instant::now() }
    }

    /// Counts what is about to be slowed down.
    pub fn start(&self, shared: &Shared) {
        if let Fault::Bandwidth(_) = shared.fault() {
            shared.count(|counts| counts.throttled += 1);
        }
    }

    /// Returns how many bytes of so many may be written, once they may.
    pub async fn wait(&mut self, fault: Fault, length: usize) -> usize {
        let Fault::Bandwidth(rate) = fault else { return length };
        let rate = rate.max(1);
        // A fiftieth of a second's, so that what is slow still flows.
        let piece = length.min((rate / 50).max(1) as usize);
        sleep_until(self.free).await;
        let time = Duration::from_secs_f64(piece as f64 / f64::from(rate));
        self.free = self.free.max(Instant::now()) + time;
        piece
    }
}

async fn read_some(from: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

pub async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Ends what is written to it.
pub fn shut_down(stream: &TcpStream) -> io::Result<()> {
    let stream = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
    stream.shutdown(Shutdown::Write)
}
