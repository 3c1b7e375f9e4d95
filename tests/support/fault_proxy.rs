//! A network that fails as it is told: a proxy in front of a server, whose fault can be changed while
//! it runs.
//!
//! It has one fault at a time; for two, put one proxy before another. Counts "of a connection" begin
//! anew when a fault is set. Where the server cannot be reached, or resets, the client is reset.

mod connection;
mod replies;

use std::{
    future::poll_fn,
    net::SocketAddr,
    sync::{Arc, Mutex},
    task::{Poll, Waker},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
};

/// What is wrong between the client and the server.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Each byte arrives so much later; their order is kept, and so is how many a second arrive.
    Latency { requests: Duration, replies: Duration },
    /// Connections are accepted and stay open, and nothing arrives until this is over.
    BlackHole,
    /// New connections are closed at once.
    Refuse,
    /// Nobody listens. Open connections stay.
    Closed,
    /// So many bytes a second of each connection, each way.
    Bandwidth(u32),
    /// This bit, 0 to 7, of this byte of the replies of a connection is another. The first is byte 0.
    FlipBit { byte: u64, bit: u8 },
    /// One bit is another in this share of the bytes of replies: the same ones for the same seed and
    /// the same connection, of which the first is number 0.
    FlipBits { share: f64, seed: u64 },
    /// After so many bytes of replies the connection is closed.
    CutAfter(u64),
    /// After so many bytes of replies the connection is reset.
    ResetAfter(u64),
    /// After so many bytes of replies no more of them arrive until this is over.
    StallAfter(u64),
}

/// What a proxy has done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    pub accepted: u64,
    /// Bytes that have arrived at the server,
    pub requests: u64,
    /// and at clients.
    pub replies: u64,
    /// Reads that arrived later, by [`Fault::Latency`],
    pub delayed: u64,
    /// or by [`Fault::Bandwidth`].
    pub throttled: u64,
    /// Connections and reads that met [`Fault::BlackHole`].
    pub held: u64,
    /// Of those accepted.
    pub refused: u64,
    pub flipped: u64,
    /// Connections that ended by a cut,
    pub cut: u64,
    /// by a reset that was told, whether at once or after some bytes,
    pub reset: u64,
    /// and because the server was not there, or had reset them.
    pub unreachable: u64,
    pub half_closed: u64,
    pub stalled: u64,
}

/// What is to be done with a connection that is open.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Cut,
    Reset,
    HalfClose,
}

/// A proxy in front of a server. Its port is closed, and its connections end, when it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
    runtime: Handle,
    // Bound and never listening: while nobody listens, the port is given to nobody else.
    _port: TcpSocket,
}

impl FaultProxy {
    /// On a free port, without a fault.
    pub async fn before(server: SocketAddr) -> Self {
        let port = socket(([127, 0, 0, 1], 0).into());
        let addr = port.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server,
            setting: watch::Sender::new(Setting::default()),
            door: Mutex::default(),
            counts: Mutex::default(),
            orders: Mutex::default(),
        });
        shared.open(addr);
        let accepting = tokio::spawn(accept(Arc::clone(&shared)));
        Self { addr, shared, accepting, runtime: Handle::current(), _port: port }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// From now on, in place of what was wrong before. What had been held or delayed goes on as this
    /// has it; a port is closed, or open again, when this returns.
    pub fn set(&self, fault: Fault) {
        self.shared.setting.send_modify(|setting| {
            *setting = Setting { fault, number: setting.number + 1 };
        });
        if fault == Fault::Closed {
            self.shared.close();
        } else {
            let _runtime = self.runtime.enter();
            self.shared.open(self.addr);
        }
    }

    /// Closes all connections, in good order. Returns how many those were, once they are.
    pub async fn cut(&self) -> usize {
        self.order(Order::Cut).await
    }

    /// Resets all connections. Returns how many those were, once they are.
    pub async fn reset(&self) -> usize {
        self.order(Order::Reset).await
    }

    /// Ends the replies of all connections, whose requests still arrive. Returns how many those are.
    pub async fn half_close(&self) -> usize {
        self.order(Order::HalfClose).await
    }

    async fn order(&self, order: Order) -> usize {
        let connections = self.shared.orders.lock().unwrap().clone();
        let mut obeyed = 0;
        for connection in connections {
            let (done, is_done) = oneshot::channel();
            // One that has ended by itself does not obey.
            let _ = connection.send((order, done));
            obeyed += usize::from(is_done.await.is_ok());
        }
        obeyed
    }

    pub fn counts(&self) -> Counts {
        *self.shared.counts.lock().unwrap()
    }

    /// How many connections there are now.
    pub fn open(&self) -> usize {
        let mut orders = self.shared.orders.lock().unwrap();
        orders.retain(|connection| !connection.is_closed());
        orders.len()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.close();
        self.accepting.abort();
    }
}

/// A fault, and how many were set before it.
#[derive(Clone, Copy, Debug, Default)]
struct Setting {
    fault: Fault,
    number: u64,
}

type Orders = mpsc::UnboundedSender<(Order, oneshot::Sender<()>)>;

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    setting: watch::Sender<Setting>,
    door: Mutex<Door>,
    counts: Mutex<Counts>,
    /// To each connection.
    orders: Mutex<Vec<Orders>>,
}

#[derive(Debug, Default)]
struct Door {
    listener: Option<TcpListener>,
    /// Of who waits at it.
    waker: Option<Waker>,
}

impl Shared {
    fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.counts.lock().unwrap());
    }

    fn fault(&self) -> Fault {
        self.setting.borrow().fault
    }

    /// Waits until what is wrong is not `fault`.
    async fn over(&self, fault: Fault) {
        let mut settings = self.setting.subscribe();
        let _ = settings.wait_for(|setting| setting.fault != fault).await;
    }

    fn close(&self) {
        self.door.lock().unwrap().listener = None;
    }

    fn open(&self, addr: SocketAddr) {
        let mut door = self.door.lock().unwrap();
        if door.listener.is_none() {
            door.listener = Some(socket(addr).listen(1_024).unwrap());
            if let Some(waker) = door.waker.take() {
                waker.wake();
            }
        }
    }

    /// The next client, and its number.
    async fn next(&self) -> (TcpStream, u64) {
        let stream = poll_fn(|cx| {
            let mut door = self.door.lock().unwrap();
            loop {
                door.waker = Some(cx.waker().clone());
                let Some(listener) = &door.listener else { return Poll::Pending };
                match std::task::ready!(listener.poll_accept(cx)) {
                    Ok((stream, _)) => return Poll::Ready(stream),
                    // Of a client that was gone before it was accepted.
                    Err(_) => continue,
                }
            }
        });
        let stream = stream.await;
        let mut counts = self.counts.lock().unwrap();
        counts.accepted += 1;
        (stream, counts.accepted - 1)
    }
}

async fn accept(shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, number) = shared.next().await;
        while connections.try_join_next().is_some() {}
        if shared.fault() == Fault::Refuse {
            shared.count(|counts| counts.refused += 1);
            continue;
        }
        let (orders, ordered) = mpsc::unbounded_channel();
        {
            let mut all = shared.orders.lock().unwrap();
            all.retain(|connection| !connection.is_closed());
            all.push(orders);
        }
        connections.spawn(connection::run(Arc::clone(&shared), client, number, ordered));
    }
}

/// On a port that may be bound already, as long as nobody listens.
fn socket(addr: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(addr).unwrap();
    socket
}
