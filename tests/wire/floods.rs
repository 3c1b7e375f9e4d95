//! S14 to S16 in numbers: whatever is asked, what is stored and what is underway stay bounded, and
//! everyone is answered.

use tokio::task::JoinSet;

use crate::{
    bytes::{Answer, heard},
    origin::Raw,
    process::Gateway,
    row::{Origin, echo, plays},
};

const MEMORY: u64 = 1 << 20;

async fn before(plays: &Origin, profile: &str, flags: &[&str]) -> (Raw, Gateway) {
    let origin = Raw::start().await;
    origin.plays(plays, "flood");
    let memory = MEMORY.to_string();
    let profile = ["--profile", profile, "--memory", &memory];
    let gateway = Gateway::before(origin.addr, &[&profile[..], flags].concat());
    (origin, gateway)
}

async fn get(gateway: &Gateway, target: &str, fields: &str) -> Answer {
    let asked = format!("GET {target} HTTP/1.1\nhost: a\n{fields}connection: close\n\n");
    let bytes = crate::play::told(gateway.addr, &asked, "").await;
    let mut answers = heard(&bytes, &["GET"]).answers;
    assert_eq!(answers.len(), 1, "{target}");
    answers.remove(0)
}

async fn landed(gateway: &Gateway) -> (u64, u64) {
    gateway.until(|status| status["flights"] == 0 && status["origin_in_flight"] == 0).await;
    let status = gateway.status().await;
    (status["entries"].as_u64().unwrap(), status["bytes"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_variants_is_answered_and_leaves_few() {
    const VARIANTS: u64 = 400;
    let varies = echo("cache-control: max-age=60\nvary: accept-language");
    for profile in ["safe", "reverse-proxy"] {
        let (_origin, gateway) = before(&varies, profile, &[]).await;
        for number in 0..VARIANTS {
            let fields = format!("x-user: {:03}\naccept-language: {number}\n", number % 1_000);
            let answer = get(&gateway, "/page", &fields).await;
            assert_eq!(answer.owner(), Some(format!("{number:03}")), "{profile}");
        }
        let (entries, bytes) = landed(&gateway).await;
        println!("{profile}: {VARIANTS} variants leave {entries} entries, {bytes} bytes");
        assert!((1..=65).contains(&entries) && bytes <= MEMORY, "{entries} entries, {bytes} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_keys_is_answered_and_stays_within_the_memory() {
    const KEYS: usize = 700;
    let body = "x".repeat(3 << 10);
    let answer = format!(
        "HTTP/1.1 200 OK\ncache-control: max-age=60\nx-for: USER\ncontent-length: {}\n\n{body}",
        body.len()
    );
    for profile in ["safe", "reverse-proxy"] {
        let (_origin, gateway) = before(&plays([&answer]), profile, &[]).await;
        let mut most = 0;
        for number in 0..KEYS {
            let answer = get(&gateway, &format!("/page?{number}"), "").await;
            assert!(answer.whole && !answer.is_hit(), "{profile}: {answer:?}");
            if number % 100 == 0 {
                most = most.max(landed(&gateway).await.1);
            }
        }
        let (entries, bytes) = landed(&gateway).await;
        println!("{profile}: {KEYS} keys leave {entries} entries, {bytes} bytes");
        assert!(entries > 0 && most.max(bytes) <= MEMORY, "{most} or {bytes} bytes");
        assert!(((KEYS * body.len()) as u64) > 2 * MEMORY);
    }
}

/// More than the 64 MiB that all fills may hold together.
#[tokio::test(flavor = "multi_thread")]
async fn many_large_fills_at_once_are_all_answered_whole() {
    const FILLS: usize = 80;
    const BODY: usize = 1 << 20;
    let large = format!(
        "HTTP/1.1 200 OK\ncache-control: max-age=60\ncontent-length: {BODY}\n\n{}",
        "x".repeat(BODY)
    );
    for profile in ["safe", "reverse-proxy"] {
        let (origin, gateway) = before(&plays([&large]), profile, &[]).await;
        let gateway = std::sync::Arc::new(gateway);
        let mut asking = JoinSet::new();
        for number in 0..FILLS {
            let gateway = std::sync::Arc::clone(&gateway);
            asking.spawn(async move { get(&gateway, &format!("/large/{number}"), "").await });
        }
        for answer in asking.join_all().await {
            assert!(answer.status == 200 && answer.whole && answer.body.len() == BODY);
        }
        assert_eq!(origin.seen().len(), FILLS);
        let (_, bytes) = landed(&gateway).await;
        assert!(bytes <= MEMORY, "{bytes} bytes");
    }
}

/// The same target by many at once, each with fields of his own: one answer for all where it is for
/// all, and for each his own where it is not.
#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_at_once_share_what_is_for_all_and_nothing_else() {
    const USERS: usize = 60;
    let rows = [
        ("cache-control: public, max-age=60", true),
        ("cache-control: private, max-age=60", false),
        ("cache-control: max-age=60\nvary: x-user", false),
        ("cache-control: no-store", false),
    ];
    for profile in ["safe", "reverse-proxy"] {
        for (fields, shared) in rows {
            let (origin, gateway) = before(&echo(fields), profile, &[]).await;
            let gateway = std::sync::Arc::new(gateway);
            let mut asking = JoinSet::new();
            for user in 100..100 + USERS {
                let gateway = std::sync::Arc::clone(&gateway);
                asking.spawn(async move {
                    let answer = get(&gateway, "/page", &format!("x-user: {user}\n")).await;
                    (user.to_string(), answer.owner().unwrap())
                });
            }
            let answers = asking.join_all().await;
            let calls = origin.seen().len();
            match shared {
                true => assert_eq!(calls, 1, "{profile}: {fields}"),
                false => {
                    assert!(
                        answers.iter().all(|(user, owner)| user == owner),
                        "{profile}: {fields}"
                    );
                    assert_eq!(calls, USERS, "{profile}: {fields}");
                }
            }
        }
    }
}
