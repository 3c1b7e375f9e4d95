//! The gateway on the wire: hazards as raw requests, one after the other, in both profiles.
//!
//! Every row of the tables in `wire/` is played against the example `gateway` as a process, in
//! front of an origin that says for whom each answer was made.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "a part of what the gateway's own tests use")]
#[path = "gateway/support.rs"]
mod process;

#[path = "wire/bytes.rs"]
mod bytes;
#[path = "wire/judge.rs"]
mod judge;
#[path = "wire/origin.rs"]
mod origin;
#[path = "wire/play.rs"]
mod play;
#[path = "wire/row.rs"]
mod row;

// The tables.
#[path = "wire/admin.rs"]
mod admin;
#[path = "wire/answers.rs"]
mod answers;
#[path = "wire/deception.rs"]
mod deception;
#[path = "wire/directives.rs"]
mod directives;
#[path = "wire/errors.rs"]
mod errors;
#[path = "wire/fields.rs"]
mod fields;
#[path = "wire/framing.rs"]
mod framing;
#[path = "wire/inputs.rs"]
mod inputs;
#[path = "wire/keys.rs"]
mod keys;
#[path = "wire/limits.rs"]
mod limits;
#[path = "wire/rewritten.rs"]
mod rewritten;
#[path = "wire/says.rs"]
mod says;
#[path = "wire/users.rs"]
mod users;

// What takes more than two requests.
#[path = "wire/floods.rs"]
mod floods;
#[path = "wire/tokens.rs"]
mod tokens;
#[path = "wire/trailers.rs"]
mod trailers;

use std::collections::BTreeMap;

use play::Stage;
use row::{Profile, Row};

fn rows() -> Vec<Row> {
    [
        keys::rows(),
        inputs::rows(),
        deception::rows(),
        users::rows(),
        directives::rows(),
        errors::rows(),
        fields::rows(),
        framing::rows(),
        answers::rows(),
        limits::rows(),
        admin::rows(),
        says::rows(),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_the_tables_comes_out_as_it_says_in_both_profiles() {
    let rows = rows();
    let Played { requests, connections, wrong } = in_both_profiles(&rows).await;
    let mut hazards = BTreeMap::<&str, usize>::new();
    for row in &rows {
        *hazards.entry(row.hazard).or_default() += 1;
    }
    let each: Vec<String> = hazards.iter().map(|(name, rows)| format!("{name} {rows}")).collect();
    println!("{requests} raw requests, {} rows in both profiles: {}", rows.len(), each.join(", "));
    assert!(wrong.is_empty(), "{} wrong\n\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(rows.len() >= 150 && requests >= 600, "{} rows, {requests} requests", rows.len());
    for hazard in row::HAZARDS {
        assert!(hazards.contains_key(hazard), "no row for {hazard}");
    }
    // What comes after an answer can do harm only on a connection that is used again.
    assert!(connections < requests / 4, "{connections} connections for {requests} requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_changes_on_the_way_is_not_hidden_from_what_is_stored() {
    let Played { wrong, .. } = in_both_profiles(&rewritten::rows()).await;
    assert!(wrong.is_empty(), "{} wrong\n\n{}", wrong.len(), wrong.join("\n\n"));
}

#[derive(Default)]
struct Played {
    requests: usize,
    /// To the origins.
    connections: usize,
    /// Which rows came out otherwise than they say.
    wrong: Vec<String>,
}

/// Rows wait for nobody but themselves: each profile has two stages.
async fn in_both_profiles(rows: &[Row]) -> Played {
    let (one, other): (Vec<_>, Vec<_>) = rows.iter().enumerate().partition(|(at, _)| at % 2 == 0);
    let (a, b, c, d) = tokio::join!(
        played(&one, Profile::Safe),
        played(&other, Profile::Safe),
        played(&one, Profile::ReverseProxy),
        played(&other, Profile::ReverseProxy),
    );
    let mut all = Played::default();
    for played in [a, b, c, d] {
        all.requests += played.requests;
        all.connections += played.connections;
        all.wrong.extend(played.wrong);
    }
    all
}

async fn played(rows: &[(usize, &Row)], profile: Profile) -> Played {
    let mut stage = Stage::set(profile).await;
    let mut wrong = Vec::new();
    for &(at, row) in rows {
        let scene = stage.play(at, row).await;
        if let Err(what) = judge::judge(row, profile, &scene) {
            wrong.push(format!("{profile:?}: {} {}\n{what}\n{scene}", row.hazard, row.name));
        }
    }
    Played { requests: stage.requests(), connections: stage.connections(), wrong }
}
