//! Choosing a stored variant by the language that is liked best: only where the profile says so.

use seawall::Profile;

use crate::{
    origin::{World, later},
    support::{Req, get, with},
};

fn speaking(languages: &str) -> Req {
    with(get("/"), "accept-language", languages)
}

/// A world with variants in these languages, each under the request that fetched it.
async fn stored(profile: Profile, variants: &[(&str, &str)]) -> World {
    let mut world = World::with(profile);
    for (asked, language) in variants {
        let tag = format!("\"{language}\"");
        world.origin.has(
            (*language).to_owned(),
            &[
                ("cache-control", "max-age=600"),
                ("etag", &tag),
                ("vary", "accept-language, accept"),
                ("content-language", language),
            ],
        );
        world.ask(speaking(asked)).await;
    }
    world
}

fn by_quality() -> Profile {
    Profile::reverse_proxy().language_by_quality(true)
}

const THREE: &[(&str, &str)] = &[("de", "de"), ("en, de;q=0.5", "en"), ("fr-CA", "fr")];

#[tokio::test(start_paused = true)]
async fn the_variant_in_the_language_liked_best_is_taken() {
    for (asked, expected) in [
        ("de", Some("de")),
        ("en", Some("en")),
        ("fr;q=0.9, en", Some("en")),
        ("fr;q=0.9, it;q=0.8", Some("fr")),
        ("FR", Some("fr")),
        ("de;q=0.5, en;q=0.6", Some("en")),
        ("it", None),
        ("it, de;q=0.9", None),
        ("de, en", None),
        ("*", None),
        ("", None),
        ("en;q=0", None),
        ("en;q=2", None),
    ] {
        let mut world = stored(by_quality(), THREE).await;
        let request = with(speaking(asked), "cache-control", "only-if-cached");
        let read = world.try_ask(request).await.ok();
        assert_eq!(read.as_ref().map(|read| read.text()), expected, "{asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_setting_only_what_asked_alike_is_answered_alike() {
    for profile in [Profile::reverse_proxy(), Profile::safe()] {
        let mut world = stored(profile, THREE).await;
        for (asked, held) in [("de", true), ("DE", true), ("en", false), ("fr", false)] {
            let request = with(speaking(asked), "cache-control", "only-if-cached");
            assert_eq!(world.try_ask(request).await.is_ok(), held, "{asked}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_language_may_differ() {
    let mut world = stored(by_quality(), THREE).await;
    let request = || with(speaking("en"), "accept", "text/plain");
    let held = with(request(), "cache-control", "only-if-cached");
    assert!(world.try_ask(held).await.is_err());
    assert_eq!(world.ask(request()).await.cache_status(), "fwd=vary-miss; fwd-status=200; stored");
}

#[tokio::test(start_paused = true)]
async fn a_stale_one_is_validated_as_what_it_is() {
    let mut world = stored(by_quality(), &[("en, de;q=0.5", "en")]).await;
    later(600).await;
    let read = world.ask(speaking("en")).await;
    assert_eq!(read.text(), "en");
    assert_eq!(world.calls(), 2);
    assert_eq!(world.ask(speaking("en")).await.cache_status(), "hit");
    assert_eq!(world.calls(), 2);
}
