//! Plays a row: a gateway for each way to start one, and the bytes of each request on a connection
//! of their own.

use std::{fmt, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    bytes::{CUT, Heard, LATER, encoded, heard},
    judge::own,
    origin::{Raw, Seen},
    process::Gateway,
    row::{Door, Origin, Outcome, Profile, Row},
};

/// Bodies up to this length are kept.
pub(crate) const MAX_BODY: usize = 4 << 10;

/// Refused by the gateway itself, and the last on its connection: after it nothing is to come.
pub(crate) const LAST: &str = "\
    GET /last HTTP/1.1\nhost: last\nx-user: end\nconnection: upgrade, close\nupgrade: last\n\n";

/// Long enough for anything that is to happen at all.
const LONG: Duration = Duration::from_secs(20);

/// Both gateways of a profile and their origin.
pub(crate) struct Stage {
    profile: Profile,
    origin: Raw,
    public: Gateway,
    trusting: Gateway,
    requests: usize,
}

/// What was said when a row was played.
pub(crate) struct Scene {
    pub(crate) before: Option<Heard>,
    pub(crate) first: Heard,
    /// What the origin was asked until then.
    pub(crate) after_first: usize,
    pub(crate) second: Heard,
    pub(crate) seen: Vec<Seen>,
    /// Where the origin and the operator are, which nobody is to learn.
    pub(crate) secrets: Vec<String>,
}

impl Stage {
    pub(crate) async fn set(profile: Profile) -> Self {
        let origin = Raw::start().await;
        let name = match profile {
            Profile::Safe => "safe",
            Profile::ReverseProxy => "reverse-proxy",
        };
        let max_body = MAX_BODY.to_string();
        // Rows that fail on purpose are not to close the gateway to those that follow.
        let flags = ["--profile", name, "--breaker", "off", "--max-body", &max_body];
        let public = Gateway::before(origin.addr, &flags);
        let trust = [&flags[..], &["--trusted-proxy", "127.0.0.0/8"]].concat();
        let trusting = Gateway::before(origin.addr, &trust);
        Self { profile, origin, public, trusting, requests: 0 }
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests
    }

    /// How many connections the origin has had.
    pub(crate) fn connections(&self) -> usize {
        self.origin.connections()
    }

    pub(crate) async fn play(&mut self, at: usize, row: &Row) -> Scene {
        let name = format!("{}-{at}", row.hazard.to_lowercase());
        self.origin.plays(&row.origin, &name);
        let gateway = if row.door == Door::Trusting { &self.trusting } else { &self.public };
        let door = if row.door == Door::Admin { gateway.admin } else { gateway.addr };
        let said = |text: &str| text.replace("ROW", &name);
        let before = match &row.before {
            Some(before) => {
                self.requests += 1;
                Some(asked(gateway, gateway.addr, &said(before)).await)
            }
            None => None,
        };
        let first = asked(gateway, door, &said(&row.first)).await;
        let after_first = self.origin.seen().len();
        if let Origin::Plays(plays) = &row.origin
            && plays.iter().any(|play| play.contains(LATER))
        {
            self.origin.send_the_rest().await;
            // Asked once more, the gateway has looked at all its connections since.
            landed(gateway).await;
        }
        let second = said(&row.second);
        let mut heard = asked(gateway, gateway.addr, &second).await;
        self.requests += 2;
        if row.outcome(self.profile) == Outcome::Broken {
            // A key whose fetch failed is left alone for a moment.
            for _ in 0..500 {
                if !backed_off(&heard) {
                    break;
                }
                sleep(Duration::from_millis(20)).await;
                heard = asked(gateway, gateway.addr, &second).await;
                self.requests += 1;
            }
        }
        let ports = [self.origin.addr, self.public.admin, self.trusting.admin];
        let secrets = ports.map(|addr| format!(":{}", addr.port())).to_vec();
        let seen = self.origin.seen();
        Scene { before, first, after_first, second: heard, seen, secrets }
    }
}

fn backed_off(heard: &Heard) -> bool {
    let told = heard.answers.first().and_then(|answer| answer.told());
    told == Some("seawall; detail=backed-off")
}

/// Says the text and hears all that comes of it, until what was fetched for it has landed.
async fn asked(gateway: &Gateway, addr: SocketAddr, text: &str) -> Heard {
    let methods: Vec<&str> = text.split("\n\n").filter_map(|head| head.split(' ').next()).collect();
    let last = if addr == gateway.admin { "" } else { LAST };
    let heard = heard(&told(addr, text, last).await, &methods);
    landed(gateway).await;
    heard
}

async fn landed(gateway: &Gateway) {
    gateway.until(|status| status["flights"] == 0 && status["origin_in_flight"] == 0).await;
}

pub(crate) async fn told(addr: SocketAddr, text: &str, last: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let (bytes, cut) = match text.strip_suffix(CUT) {
        Some(text) => (encoded(text), true),
        None => (encoded(&format!("{text}{last}")), false),
    };
    // It may hang up before it has read all.
    let _ = stream.write_all(&bytes).await;
    if cut {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let heard = async { while stream.read_buf(&mut answer).await.is_ok_and(|read| read > 0) {} };
    if timeout(LONG, heard).await.is_err() {
        answer.extend(b"<silence>");
    }
    answer
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heard = [("before", self.before.as_ref()), ("first", Some(&self.first))];
        for (name, heard) in heard.into_iter().chain([("second", Some(&self.second))]) {
            let Some(heard) = heard else { continue };
            for answer in own(heard) {
                let whole = if answer.whole { "" } else { " (not whole)" };
                writeln!(f, "  {name}: {:?}{whole} {:?}", answer.head, answer.body)?;
            }
            if !heard.rest.is_empty() {
                writeln!(f, "  {name}: and {:?}", heard.rest)?;
            }
        }
        for seen in &self.seen {
            writeln!(f, "  origin: {:?} {:?}", seen.head, seen.body)?;
        }
        Ok(())
    }
}
