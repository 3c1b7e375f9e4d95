//! Whether what was said is what the row says.

use crate::{
    bytes::{Answer, Heard, NOBODY},
    origin::Seen,
    play::Scene,
    row::{Origin, Outcome, Profile, Row},
};

type Judged = Result<(), String>;

/// What the row says, and nothing else: no other outcome may fit what was said.
pub(crate) fn judge(row: &Row, profile: Profile, scene: &Scene) -> Judged {
    let expected = row.outcome(profile);
    came_out(row, expected, profile, scene)?;
    let others = [Outcome::Kept, Outcome::Apart, Outcome::Refused(400), Outcome::Broken];
    let fits = |other| other != expected && came_out(row, other, profile, scene).is_ok();
    match others.into_iter().find(|&other| fits(other)) {
        Some(other) => Err(format!("it could as well be {other:?}")),
        None => Ok(()),
    }
}

fn came_out(row: &Row, outcome: Outcome, profile: Profile, scene: &Scene) -> Judged {
    first(row, outcome, scene)?;
    second(row, outcome, scene)?;
    if let Some(text) = row.in_reverse_proxy {
        let has = scene.second.answers.iter().any(|answer| answer.head.contains(text));
        let wrong = || format!("second: {text:?} in the answer: {has}");
        check(has == (profile == Profile::ReverseProxy), wrong)?;
    }
    for seen in &scene.seen {
        plain(seen)?;
    }
    let before = scene.before.iter().flat_map(|heard| &heard.answers);
    for answer in before.chain(&scene.first.answers).chain(&scene.second.answers) {
        tells_nothing(answer, &scene.secrets)?;
    }
    Ok(())
}

/// The first gets what its outcome says, so that no row passes because nothing happened.
fn first(row: &Row, outcome: Outcome, scene: &Scene) -> Judged {
    let before = usize::from(row.before.is_some());
    if let Some(stored) = &scene.before {
        only(stored, "before")?;
    }
    let asked = scene.after_first - before;
    let answers = own(&scene.first);
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    if let Outcome::Refused(status) = outcome {
        check(statuses == [status], || format!("first: {statuses:?}, not {status}"))?;
        check(answers[0].owner().is_none(), || "first: the origin has answered".to_owned())?;
        return check(asked == 0, || format!("first: the origin was asked {asked} times"));
    }
    if outcome == Outcome::Broken {
        let own = |answer: &Answer| answer.status == 502 && answer.owner().is_none();
        let broken = |answer: &&Answer| own(answer) || !answer.whole;
        check(answers.last().is_none_or(broken), || format!("first: {statuses:?}, all whole"))?;
    } else {
        let users = match &row.answered[..] {
            [] => vec![user_of(&row.first)],
            users => users.iter().map(|&user| user.to_owned()).collect(),
        };
        let owners: Vec<_> =
            answers.iter().map(|answer| answer.owner().unwrap_or_default()).collect();
        check(owners == users, || format!("first: answers for {owners:?}, not {users:?}"))?;
        check(answers.iter().all(|answer| answer.whole), || "first: not whole".to_owned())?;
        check(scene.first.rest.is_empty(), || format!("first: and {:?}", scene.first.rest))?;
    }
    let calls = row.answered.len().max(1);
    check(asked == calls, || format!("first: the origin was asked {asked} times, not {calls}"))
}

fn second(row: &Row, outcome: Outcome, scene: &Scene) -> Judged {
    let answer = only(&scene.second, "second")?;
    let evil = (answer.head.clone() + &answer.body).to_ascii_lowercase().contains("evil");
    check(!evil, || "second: something evil".to_owned())?;
    for text in &row.has {
        let has = format!("\r\n{}\r\n", answer.head).contains(text);
        check(has, || format!("second: no {text:?}"))?;
    }
    let stored = match (outcome, &scene.before) {
        (Outcome::Refused(_), None) | (Outcome::Apart | Outcome::Broken, _) => None,
        (_, Some(before)) => before.answers.first(),
        (_, None) => own(&scene.first).last().copied(),
    };
    let calls = scene.seen.len() - scene.after_first;
    let Some(stored) = stored else {
        let (user, owner) = (user_of(&row.second), answer.owner());
        check(!answer.is_hit(), || "second: a hit".to_owned())?;
        check(owner.as_ref() == Some(&user), || format!("second: for {owner:?}, not {user}"))?;
        check(calls == 1, || format!("second: the origin was asked {calls} times"))?;
        let said = status_of(&row.origin, scene.seen.len());
        return check(answer.status == said, || format!("second: {}, not {said}", answer.status));
    };
    check(answer.is_hit(), || "second: no hit".to_owned())?;
    check(calls == 0, || format!("second: the origin was asked {calls} times"))?;
    check(answer.status == stored.status, || format!("second: {}", answer.status))?;
    check(answer.owner() == stored.owner(), || format!("second: for {:?}", answer.owner()))?;
    let same = row.second.starts_with("HEAD ") || answer.body == stored.body;
    check(same, || "second: another body than the stored one".to_owned())
}

/// The one answer on a connection that asks once.
fn only<'a>(heard: &'a Heard, which: &str) -> Result<&'a Answer, String> {
    let answers = own(heard);
    let [answer] = answers[..] else {
        return Err(format!("{which}: {} answers", answers.len()));
    };
    check(answer.whole, || format!("{which}: not whole"))?;
    check(heard.rest.is_empty(), || format!("{which}: and {:?}", heard.rest))?;
    Ok(answer)
}

/// Without the answer to [`crate::play::LAST`].
pub(crate) fn own(heard: &Heard) -> Vec<&Answer> {
    let mut answers: Vec<&Answer> = heard.answers.iter().collect();
    answers.pop_if(|last| last.status == 501 && last.body.starts_with("Upgrade"));
    answers
}

/// What the origin is asked has one host, one end and no field of another connection.
fn plain(seen: &Seen) -> Judged {
    let line = seen.line();
    let wrong = |what: &str| Err(format!("origin: {what}: {line:?}"));
    let parts: Vec<&str> = line.split(' ').collect();
    if parts.len() != 3 || !parts[1].starts_with('/') || parts[2] != "HTTP/1.1" {
        return wrong("no plain request line");
    }
    if line.contains("smuggled") {
        return wrong("a request out of another's body");
    }
    let count = |name| seen.fields(name).count();
    let lengths: Vec<&str> = seen.fields("content-length").collect();
    let codings: Vec<&str> = seen.fields("transfer-encoding").collect();
    let sized = lengths.iter().all(|length| length.bytes().all(|byte| byte.is_ascii_digit()));
    if count("host") != 1 {
        return wrong("not one host");
    }
    if lengths.len() + codings.len() > 1 || !sized || codings.iter().any(|one| *one != "chunked") {
        return wrong("an end in doubt");
    }
    if seen.fields("connection").any(|one| !one.eq_ignore_ascii_case("te")) {
        return wrong("a connection that names more than te");
    }
    let hops = ["upgrade", "keep-alive", "proxy-connection", "proxy-authorization"];
    if hops.into_iter().any(|name| count(name) > 0) {
        return wrong("a field of another connection");
    }
    if seen.head.replace("\r\n", "").contains(['\r', '\n', '\0']) {
        return wrong("a stray control byte");
    }
    Ok(())
}

/// No answer says where the origin is, and no `Cache-Status` what the store does.
fn tells_nothing(answer: &Answer, secrets: &[String]) -> Judged {
    let said = answer.head.clone() + &answer.body;
    for secret in secrets {
        check(!said.contains(secret), || format!("an answer tells of {secret}"))?;
    }
    if answer.owner().is_none() {
        let inner = ["/src/", "os error", "hyper", "panicked", "127.0.0.1"];
        let says = inner.iter().find(|what| answer.body.contains(**what));
        check(says.is_none(), || format!("an answer of the gateway's own says {says:?}"))?;
    }
    let known = |part: &str| {
        let name = part.split_once('=').map_or(part, |(name, _)| name);
        // What the gateway refuses by itself, it names.
        let refusals = ["detail=refused", "detail=only-if-cached", "detail=backed-off"];
        matches!(name, "hit" | "fwd" | "fwd-status" | "stored" | "collapsed")
            || refusals.contains(&part)
            || part == "detail=origin-failed"
    };
    let Some(told) = answer.told() else { return Ok(()) };
    let mut parts = told.split("; ");
    let ours = parts.next() == Some("seawall");
    check(ours && parts.all(known), || format!("cache-status: {told}"))
}

fn user_of(text: &str) -> String {
    let user = text.split_once("x-user: ").and_then(|(_, rest)| rest.get(..3));
    user.unwrap_or(NOBODY).to_owned()
}

fn status_of(origin: &Origin, call: usize) -> u16 {
    match origin {
        Origin::Echo(status, _) => *status,
        Origin::Plays(plays) => {
            let play = plays.get(call - 1).or(plays.last()).expect("a play");
            let last = play.rsplit("HTTP/1.").next().unwrap_or_default();
            last.get(2..5).and_then(|status| status.parse().ok()).unwrap_or(0)
        }
    }
}

fn check(fine: bool, what: impl FnOnce() -> String) -> Judged {
    if fine { Ok(()) } else { Err(what()) }
}
