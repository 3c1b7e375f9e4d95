//! Each client's quota.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    time::{Instant, sleep, timeout},
};

use super::{
    admission::{assert_grpc_refused, get},
    overload::{Origin, assert_refused, kept},
    support::*,
};

/// A client with five requests a second, and what it has been admitted so far.
struct Account {
    since: Instant,
    admitted: usize,
}

impl Account {
    fn new() -> Self {
        Self { since: Instant::now(), admitted: 0 }
    }

    /// Asks twelve times on one connection from `peer`, all at once; `fields` are those of each
    /// request. How many are admitted: never more than the account has, however slow this machine is.
    async fn spend(
        &mut self,
        gateway: &Gateway,
        peer: [u8; 4],
        fields: impl Fn(u32) -> String,
    ) -> usize {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((peer, 0).into()).unwrap();
        let mut stream = socket.connect(gateway.addr).await.unwrap();
        let mut heads: Vec<_> =
            (0..12).map(|n| format!("GET /hot HTTP/1.1\r\nhost: a\r\n{}", fields(n))).collect();
        heads[11].push_str("connection: close\r\n");
        stream.write_all((heads.join("\r\n") + "\r\n").as_bytes()).await.unwrap();
        let mut answers = String::new();
        timeout(LONG, stream.read_to_string(&mut answers)).await.expect("an end").unwrap();
        let answers: Vec<_> =
            answers.split("HTTP/1.1 ").skip(1).map(|answer| format!("HTTP/1.1 {answer}")).collect();
        assert_eq!(answers.len(), 12, "{answers:?}");
        let (admitted, refused): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| status(answer) == 200);
        for answer in refused {
            assert_refused(answer, 429, "over-quota");
        }
        self.admitted += admitted.len();
        let most = 5 + self.since.elapsed().as_millis() / 200;
        assert!(self.admitted as u128 <= most, "{} of {most}", self.admitted);
        admitted.len()
    }
}

const SOME: [u8; 4] = [127, 0, 0, 1];
const OTHER: [u8; 4] = [127, 0, 0, 2];

fn nothing_more(_: u32) -> String {
    String::new()
}

#[tokio::test]
async fn a_client_has_five_requests_a_second_hits_included_and_another_has_its_own() {
    let origin = Origin::serve(|_| async { kept("hot") }).await;
    let gateway = Gateway::before(origin.addr, &["--quota", "5/s"]);
    let mut some = Account::new();
    let admitted = some.spend(&gateway, SOME, nothing_more).await;
    assert!(admitted >= 5);
    let figures = gateway.status().await;
    assert_eq!(
        (&figures["shed"], &figures["hits"]),
        (&(12 - admitted).into(), &(admitted - 1).into())
    );
    let mut other = Account::new();
    assert!(other.spend(&gateway, OTHER, nothing_more).await >= 5);
    some.spend(&gateway, SOME, nothing_more).await;
    sleep(Duration::from_secs(1)).await;
    assert!(some.spend(&gateway, SOME, nothing_more).await >= 5, "after a second it has all again");
    assert_eq!(origin.calls(), 1);
    println!("{} and {} admitted in {:?}", some.admitted, other.admitted, some.since.elapsed());
}

#[tokio::test]
async fn a_client_behind_a_trusted_proxy_is_who_the_proxy_says_and_nobody_else_may_say_so() {
    let origin = Origin::serve(|_| async { kept("hot") }).await;
    let gateway = Gateway::before(origin.addr, &["--quota", "5/s", "--trusted-proxy", "127.0.0.1"]);
    let said_by_proxy = |client: &'static str| move |_| format!("x-forwarded-for: {client}\r\n");
    let mut client = Account::new();
    assert!(client.spend(&gateway, SOME, said_by_proxy("192.0.2.1")).await >= 5);
    // What it says of itself makes it nobody else, and nor does the other field.
    let forged = |n| format!("x-forwarded-for: 198.51.100.{n}, 192.0.2.1\r\n");
    client.spend(&gateway, SOME, forged).await;
    client.spend(&gateway, SOME, |_| "forwarded: for=192.0.2.1\r\n".to_owned()).await;
    let mut next = Account::new();
    assert!(next.spend(&gateway, SOME, said_by_proxy("192.0.2.2")).await >= 5);

    let mut untrusted = Account::new();
    let forged = |n| format!("x-forwarded-for: 192.0.2.{}\r\n", 100 + n);
    assert!(untrusted.spend(&gateway, OTHER, forged).await >= 5);
    untrusted.spend(&gateway, OTHER, said_by_proxy("192.0.2.3")).await;
    let mut named = Account::new();
    assert!(
        named.spend(&gateway, SOME, said_by_proxy("192.0.2.3")).await >= 5,
        "it has spent none"
    );
}

#[tokio::test]
async fn grpc_over_its_quota_is_told_so_in_trailers() {
    let origin = Origin::serve(|_| async { kept("hot") }).await;
    let gateway = Gateway::before(origin.addr, &["--quota", "1/s"]);
    let began = Instant::now();
    assert_eq!(status(&get(gateway.addr, "/hot").await), 200);
    assert_grpc_refused(gateway.addr, "8", "over-quota").await;
    println!("within {:?} of the first", began.elapsed());
}
