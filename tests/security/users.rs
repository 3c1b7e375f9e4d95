//! Who is asking, and what the origin says of it.

use seawall::Profile;
use tokio::task::JoinSet;

use crate::{
    echo::{
        Outcome::{Own, Shared},
        Row, ask_as, check, made_for, origin,
    },
    support::{
        cache,
        sockets::{Upstream, client::Client, serve_cached},
    },
};

const ALICE: &str = "authorization: Bearer alice";
const BOB: &str = "authorization: Bearer bob";
const COOKIE_A: &str = "cookie: id=alice";
const COOKIE_B: &str = "cookie: id=bob";

/// RFC 9111 §3.5.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_for_an_authorization_is_shared_only_where_the_origin_says_so() {
    let rows: [Row; 17] = [
        (ALICE, BOB, "", Own, Own),
        (ALICE, BOB, "cache-control: max-age=60", Own, Own),
        (ALICE, BOB, "expires: Fri, 01 Jan 2100 00:00:00 GMT", Own, Own),
        (ALICE, BOB, "cache-control: public, max-age=60", Shared, Shared),
        (ALICE, BOB, "cache-control: s-maxage=60", Shared, Shared),
        (ALICE, BOB, "cache-control: must-revalidate, max-age=60", Shared, Shared),
        (ALICE, BOB, "cache-control: proxy-revalidate, max-age=60", Own, Own),
        (ALICE, BOB, "cache-control: private, max-age=60", Own, Own),
        (ALICE, BOB, "cache-control: private, public, max-age=60, s-maxage=60", Own, Own),
        (ALICE, BOB, "cache-control: no-store, public, max-age=60", Own, Own),
        (ALICE, BOB, "cache-control: public, no-cache, max-age=60\netag: \"a\"", Own, Own),
        (ALICE, BOB, "cache-control: s-maxage=0, public, max-age=60", Own, Own),
        // With and without, either way round.
        (ALICE, "", "cache-control: max-age=60", Own, Own),
        ("", BOB, "cache-control: max-age=60", Own, Own),
        ("", BOB, "cache-control: public, max-age=60", Shared, Shared),
        ("authorization: ", BOB, "cache-control: max-age=60", Own, Own),
        ("proxy-authorization: alice", "", "cache-control: private, max-age=60", Own, Own),
    ];
    check(&rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_for_a_cookie_is_shared_only_where_profile_or_origin_say_so() {
    let rows: [Row; 9] = [
        (COOKIE_A, COOKIE_B, "", Own, Own),
        (COOKIE_A, COOKIE_B, "cache-control: max-age=60", Own, Shared),
        (COOKIE_A, COOKIE_B, "cache-control: must-revalidate, max-age=60", Own, Shared),
        (COOKIE_A, COOKIE_B, "cache-control: public, max-age=60", Shared, Shared),
        (COOKIE_A, COOKIE_B, "cache-control: s-maxage=60", Shared, Shared),
        (COOKIE_A, COOKIE_B, "cache-control: private, max-age=60", Own, Own),
        (COOKIE_A, "", "cache-control: max-age=60", Own, Shared),
        ("", COOKIE_B, "cache-control: max-age=60", Own, Shared),
        (COOKIE_A, BOB, "cache-control: max-age=60", Own, Own),
    ];
    check(&rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_sets_a_cookie_is_shared_only_by_a_reverse_proxy_and_with_a_lifetime() {
    let rows: [Row; 6] = [
        ("", "", "set-cookie: id=alice", Own, Own),
        ("", "", "set-cookie: id=alice\nlast-modified: Sat, 01 Jan 2000 00:00:00 GMT", Own, Own),
        ("", "", "set-cookie: id=alice\ncache-control: public", Own, Own),
        ("", "", "set-cookie: id=alice\ncache-control: max-age=60", Own, Shared),
        ("", "", "set-cookie: id=alice\ncache-control: private, max-age=60", Own, Own),
        (COOKIE_A, COOKIE_B, "set-cookie: id=1\ncache-control: private, public", Own, Own),
    ];
    check(&rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variants_are_kept_apart_by_every_field_that_vary_names() {
    const TWO: &str = "cache-control: max-age=60\nvary: x-a\nvary: x-b";
    let rows: [Row; 21] = [
        ("accept: a", "accept: b", "cache-control: max-age=60\nvary: accept", Own, Own),
        ("accept: a", "accept: a", "cache-control: max-age=60\nvary: accept", Shared, Shared),
        ("accept: a", "", "cache-control: max-age=60\nvary: accept", Own, Own),
        ("", "accept: a", "cache-control: max-age=60\nvary: ACCEPT", Own, Own),
        ("accept:", "", "cache-control: max-age=60\nvary: accept", Own, Own),
        ("x-a: 1", "x-a: 2", TWO, Own, Own),
        ("x-b: 1", "x-b: 2", TWO, Own, Own),
        ("x-a: 1\nx-b: 1", "x-a: 1\nx-b: 1", TWO, Shared, Shared),
        // Values that would be one if they were only put together.
        ("x-a: 1, 2\nx-b: 3", "x-a: 1\nx-b: 2, 3", TWO, Own, Own),
        ("x-a: 1", "x-b: 1", TWO, Own, Own),
        ("x-a: 1\nx-a: 2", "x-a: 1", TWO, Own, Own),
        ("x-a: \"1, 2\"", "x-a: \"1,2\"", TWO, Own, Own),
        ("", "", "cache-control: public, max-age=60\nvary: *", Own, Own),
        ("", "", "cache-control: public, max-age=60\nvary: accept, *", Own, Own),
        ("", "", "cache-control: public, max-age=60\nvary: accept\nvary: *", Own, Own),
        ("", "", "cache-control: public, max-age=60\nvary: a b", Own, Own),
        ("", "", "cache-control: public, max-age=60\nvary: x-user", Own, Own),
        // On credentials: a variant for each in one profile, nothing in the other.
        (ALICE, BOB, "cache-control: public, max-age=60\nvary: authorization", Own, Own),
        (ALICE, ALICE, "cache-control: public, max-age=60\nvary: Authorization", Own, Shared),
        (COOKIE_A, COOKIE_B, "cache-control: public, max-age=60\nvary: cookie", Own, Own),
        (COOKIE_A, COOKIE_A, "cache-control: s-maxage=60\nvary: accept, Cookie", Own, Shared),
    ];
    check(&rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn directives_are_read_in_any_form_and_the_strictest_counts() {
    let rows: [Row; 27] = [
        ("", "", "cache-control: max-age=60", Shared, Shared),
        ("", "", "cache-control: MAX-AGE=60", Shared, Shared),
        ("", "", "Cache-Control: max-age=60, PRIVATE", Own, Own),
        ("", "", "cache-control: max-age=60, No-Store", Own, Own),
        ("", "", "cache-control: max-age=60\ncache-control: private", Own, Own),
        ("", "", "cache-control: no-store\ncache-control: max-age=60", Own, Own),
        ("", "", "cache-control: max-age=60,,  ,private", Own, Own),
        ("", "", "cache-control: max-age=60,\tprivate", Own, Own),
        ("", "", "cache-control: max-age=60, max-age=0", Own, Own),
        ("", "", "cache-control: max-age=0, max-age=60", Own, Own),
        ("", "", "cache-control: s-maxage=0, max-age=60", Own, Own),
        ("", "", "cache-control: max-age=-1", Own, Own),
        ("", "", "cache-control: max-age=60.5", Own, Own),
        ("", "", "cache-control: max-age='60'", Own, Own),
        ("", "", "cache-control: max-age=\"60\"", Shared, Shared),
        ("", "", "cache-control: max-age=", Own, Own),
        ("", "", "cache-control: max-age=60; private", Own, Own),
        ("", "", "cache-control: max-age=99999999999999999999", Shared, Shared),
        ("", "", "cache-control: max-age=60, private=", Own, Own),
        ("", "", "cache-control: max-age=60, private=\"a b\"", Own, Own),
        ("", "", "cache-control: max-age=60, private=\"\"", Own, Own),
        ("", "", "cache-control: max-age=60, no-store=\"x\"", Own, Own),
        ("", "", "cache-control: private=\"x-nothing\", private, max-age=60", Own, Own),
        // What stands in quotes is no directive.
        ("", "", "cache-control: max-age=60, x=\"no-store, private\"", Shared, Shared),
        ("", "", "cache-control: x=\"max-age=60\"", Own, Own),
        ("", "", "cache-control: x=\"\\\"\", private, max-age=60", Own, Own),
        ("", "", "cache-control: public", Own, Own),
    ];
    check(&rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_private_names_is_for_the_first_user_alone() {
    let fields = "cache-control: max-age=60, private=\"X-Made-For\"\nx-kept: yes";
    let (origin, calls) = origin(fields).await;
    let addr = serve_cached(&cache(), Profile::safe(), Upstream::http1(origin)).await;
    let alice = ask_as(addr, "alice", "GET /", "host: a\r\n").await;
    assert_eq!((made_for(&alice), alice.field("x-kept")), ("alice", Some("yes")));
    let bob = ask_as(addr, "bob", "GET /", "host: a\r\n").await;
    assert_eq!((made_for(&bob), bob.field("x-kept")), ("nobody", Some("yes")));
    assert_eq!(calls.count(), 1);
}

/// What a request says of caches is for its own answer.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_request_says_of_caches_is_heeded() {
    const KEPT: &str = "cache-control: max-age=60";
    let rows: [Row; 6] = [
        ("cache-control: no-store", "", KEPT, Own, Own),
        ("", "cache-control: No-Store", KEPT, Own, Own),
        ("", "cache-control: no-cache", KEPT, Own, Own),
        ("", "cache-control: max-age=0", KEPT, Own, Own),
        ("", "pragma: no-cache", KEPT, Own, Own),
        ("", "cache-control: only-if-cached", KEPT, Shared, Shared),
    ];
    check(&rows).await;
}

/// Forty users at once, each with a connection, credentials and a token, at all kinds of answers.
#[tokio::test(flavor = "multi_thread")]
async fn among_many_users_at_once_nobody_ever_sees_the_token_of_another() {
    const USERS: usize = 40;
    const ASKS: usize = 25;
    let kinds = [
        "",
        "cache-control: max-age=60",
        "cache-control: private, max-age=60",
        "cache-control: no-store",
        "cache-control: max-age=60\nset-cookie: id=1",
        "cache-control: public, max-age=60\nvary: cookie",
        "cache-control: public, max-age=60\nvary: *",
        "cache-control: public, max-age=60\nvary: x-user",
    ];
    for profile in [Profile::safe(), Profile::reverse_proxy()] {
        for fields in kinds {
            let (origin, _) = origin(fields).await;
            let addr = serve_cached(&cache(), profile.clone(), Upstream::http1(origin)).await;
            let mut asking = JoinSet::new();
            for user in 0..USERS {
                asking.spawn(async move {
                    let mut client = Client::connect(addr).await;
                    for ask in 0..ASKS {
                        let head = format!(
                            "GET /{} HTTP/1.1\r\nhost: a\r\nx-user: u{user}.\r\n\
                             cookie: id=u{user}.\r\nauthorization: Bearer u{user}.\r\n",
                            ask % 3
                        );
                        let answer = client.ask(&head).await;
                        assert_eq!(made_for(&answer), format!("u{user}."), "{fields:?}");
                        assert!(answer.text().contains(&format!("id=u{user}.\n")), "{fields:?}");
                    }
                });
            }
            while let Some(asked) = asking.join_next().await {
                asked.unwrap();
            }
        }
    }
}
