//! An origin that says in every answer for whom it was made, and two users who ask for it.

use std::{convert::Infallible, net::SocketAddr};

use http::{Request, Response, StatusCode, header::HOST};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use seawall::Profile;
use tower::service_fn;

use crate::support::{
    Calls, cache,
    sockets::{
        Upstream,
        client::{Answer, ask},
        eventually, serve, serve_cached,
    },
};

/// For whom the second user's answer was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// For the second user.
    Own,
    /// For the first.
    Shared,
}

/// What the first user says and the second, and the origin's fields; then what comes of it in the
/// safe profile, and in the one for a reverse proxy.
pub(crate) type Row = (&'static str, &'static str, &'static str, Outcome, Outcome);

/// Answers with these fields, a line each, and with all that it was asked as the body.
pub(crate) async fn origin(fields: &'static str) -> (SocketAddr, Calls) {
    let calls = Calls::default();
    let counted = calls.clone();
    let addr = serve(service_fn(move |request: Request<Incoming>| {
        counted.add();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let host = parts.headers.get(HOST).map(|host| host.as_bytes()).unwrap_or_default();
            let host = String::from_utf8_lossy(host).into_owned();
            let user = parts.headers.get("x-user").cloned();
            let mut echo = format!("{} {} for {host}\n", parts.method, parts.uri);
            for (name, value) in &parts.headers {
                echo += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
            }
            echo += &format!("body: {}\n", String::from_utf8_lossy(&body));
            let mut response = Response::new(Full::from(echo));
            // A status may be asked for.
            let status = parts.uri.path().strip_prefix("/status/");
            if let Some(status) = status.and_then(|status| status.parse::<u16>().ok()) {
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
            }
            for (name, value) in fields.lines().filter_map(|line| line.split_once(": ")) {
                let name: http::HeaderName = name.parse().unwrap();
                response.headers_mut().append(name, value.parse().unwrap());
            }
            if let Some(user) = user {
                response.headers_mut().insert(MADE_FOR, user);
            }
            Ok::<_, Infallible>(response)
        }
    }))
    .await;
    (addr, calls)
}

const MADE_FOR: &str = "x-made-for";

pub(crate) fn made_for(answer: &Answer) -> &str {
    answer.field(MADE_FOR).unwrap_or("nobody")
}

/// Asks as `user`; `head` is a request line, and `fields` end with a line's end each.
pub(crate) async fn ask_as(addr: SocketAddr, user: &str, line: &str, fields: &str) -> Answer {
    ask(addr, &format!("{line} HTTP/1.1\r\nx-user: {user}\r\n{fields}")).await
}

fn lines(fields: &str) -> String {
    fields.lines().map(|line| format!("{line}\r\n")).collect()
}

async fn outcome(profile: Profile, (first, second, fields): (&str, &str, &'static str)) -> Outcome {
    let (origin, calls) = origin(fields).await;
    let cache = cache();
    let addr = serve_cached(&cache, profile, Upstream::http1(origin)).await;
    let host = "host: a\r\n";
    let alice = ask_as(addr, "alice", "GET /page", &(host.to_owned() + &lines(first))).await;
    assert_eq!(made_for(&alice), "alice");
    eventually("landed", || cache.figures().flights == 0).await;
    let bob = ask_as(addr, "bob", "GET /page", &(host.to_owned() + &lines(second))).await;
    assert!(alice.whole && bob.whole);
    match (made_for(&bob), calls.count()) {
        ("bob", 2) => Outcome::Own,
        ("alice", 1) => Outcome::Shared,
        other => panic!("{other:?} of {bob:?}"),
    }
}

/// Every row in both profiles; all that are not as expected are shown.
pub(crate) async fn check(rows: &[Row]) {
    let mut wrong = Vec::new();
    for &(first, second, fields, safe, reverse_proxy) in rows {
        let profiles = [
            ("safe", Profile::safe(), safe),
            ("reverse proxy", Profile::reverse_proxy(), reverse_proxy),
        ];
        for (name, profile, expected) in profiles {
            let found = outcome(profile, (first, second, fields)).await;
            if found != expected {
                wrong.push(format!(
                    "{name}: {first:?} then {second:?} of {fields:?}: {found:?}, not {expected:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}
