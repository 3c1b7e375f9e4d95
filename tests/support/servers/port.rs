//! Ports that are a server's alone from before it starts until after it has been restarted.

use std::net::{Ipv4Addr, UdpSocket};

/// A TCP port that no other server of the tests takes while this is held, though nobody listens on it.
#[derive(Debug)]
pub struct Port {
    pub number: u16,
    // The lock on it, across processes as well: the UDP port of that number, which no server uses.
    _held: UdpSocket,
}

impl Port {
    /// One that may be free: where it is not, the server ends, and the next is tried.
    pub fn draw() -> Self {
        // Below those that connections are given, and so are the ports of a cluster's bus, 10,000 above.
        let mut numbers = (0..1_000).map(|_| fastrand::u16(10_000..20_000));
        let mut held = numbers.find_map(|number| {
            let held = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
            Some(Self { number, _held: held })
        });
        held.take().expect("one of a thousand ports")
    }
}
