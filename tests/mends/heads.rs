//! HEAD requests: what they may say of what a GET has stored, and of GETs.

use http::Method;
use seawall::Cache;
use tokio::time::sleep;
use tower::Layer;

use crate::{
    SECOND, millis,
    scripted::{Far, layer},
    support::{Req, answer, asked, at_once, cache, call, get, head, origin, with},
};

#[tokio::test(start_paused = true)]
async fn a_head_that_is_answered_late_leaves_what_a_get_has_stored_since() {
    for (is_far, control) in
        [(false, "max-age=60"), (false, "no-store"), (true, "max-age=60"), (true, "no-store")]
    {
        let (_, inner) = origin(move |call, request: Req| async move {
            if request.method() == Method::HEAD {
                sleep(millis(500)).await;
                return Ok(answer(&[("cache-control", control), ("etag", "\"v1\"")], ""));
            }
            Ok(match call {
                0 => answer(&[("cache-control", "max-age=1"), ("etag", "\"v1\"")], "v1"),
                _ => answer(&[("cache-control", "max-age=60"), ("etag", "\"v2\"")], "v2"),
            })
        });
        let cache = if is_far { Cache::new(Far::default()) } else { cache() };
        let mut service = layer(cache).layer(inner);
        call(&mut service, get("/")).await.unwrap();
        sleep(2 * SECOND).await;
        let earlier = asked(&service, head("/"));
        sleep(millis(100)).await;
        assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "v2");
        assert_eq!(earlier.await.unwrap().unwrap().status(), 200);
        // The store is written to when the caller has been answered.
        sleep(millis(100)).await;
        let read = call(&mut service, get("/")).await.unwrap();
        assert_eq!(read.text(), "v2", "far: {is_far}, {control}");
        // Where it is not known what is stored, what may be too old may be removed.
        if !is_far || control != "no-store" {
            assert_eq!(read.cache_status(), "hit", "far: {is_far}, {control}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_head_with_credentials_may_not_share_is_not_held_against_gets() {
    let (calls, inner) = origin(|_, request: Req| async move {
        sleep(millis(10)).await;
        Ok(match *request.method() {
            Method::HEAD => answer(&[("cache-control", "max-age=60"), ("etag", "\"v1\"")], ""),
            _ => answer(&[("cache-control", "public, max-age=1"), ("etag", "\"v1\"")], "v1"),
        })
    });
    let cache = cache();
    let mut service = layer(cache.clone()).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    sleep(2 * SECOND).await;
    call(&mut service, with(head("/"), "authorization", "a")).await.unwrap();
    let before = calls.count();
    let gets = (0..10).map(|_| with(get("/"), "authorization", "a"));
    for read in at_once(&service, gets).await {
        assert_eq!(read.unwrap().text(), "v1");
    }
    assert_eq!(calls.count() - before, 1);
}
