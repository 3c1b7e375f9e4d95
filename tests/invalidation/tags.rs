//! Where tags come from, how many are kept, and what they reach.

use http::HeaderName;
use seawall::{
    CacheLayer, Invalidation, StaleWhileRevalidateLayer, cache::CacheService, observe::Event,
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tower::Layer;

use crate::support::{BoxedOrigin, Read, answer, cache, cache_builder, call, get, origin, with};

type Service = CacheService<BoxedOrigin>;

/// An origin whose answers have these fields.
fn tagged(fields: &[(&'static str, String)]) -> BoxedOrigin {
    let fields = fields.to_vec();
    origin(move |call, _| {
        let mut all = vec![("cache-control", "max-age=600")];
        all.extend(fields.iter().map(|(name, value)| (*name, value.as_str())));
        let answer = answer(&all, call.to_string());
        async { Ok(answer) }
    })
    .1
}

async fn ask(service: &mut Service) -> Read {
    call(service, get("/")).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_tag_is_read_wherever_it_may_stand_and_compares_byte_for_byte() {
    type Set = fn(CacheLayer) -> CacheLayer;
    let plain: Set = |layer| layer;
    let other: Set = |layer| layer.tag_field(HeaderName::from_static("x-tags"));
    let function: Set =
        |layer| layer.tags(|answered| vec![format!("s{}", answered.status.as_u16())]);
    let rows: [(Set, &'static str, &str, &str, bool); 14] = [
        (plain, "surrogate-key", "boots shoes", "shoes", true),
        (plain, "surrogate-key", "boots,shoes", "shoes", true),
        (plain, "cache-tag", "boots, shoes", "shoes", true),
        (plain, "cache-tag", "shoes", "shoes", true),
        (plain, "surrogate-key", "shoes", "Shoes", false),
        (plain, "surrogate-key", "shoes", "shoe", false),
        (plain, "surrogate-key", "shoes boots", "shoes boots", false),
        (plain, "x-tags", "shoes", "shoes", false),
        (other, "x-tags", "boots shoes", "shoes", true),
        (other, "cache-tag", "shoes", "shoes", true),
        (other, "surrogate-key", "shoes", "shoes", false),
        (function, "surrogate-key", "shoes", "s200", true),
        (function, "surrogate-key", "shoes", "shoes", true),
        (function, "surrogate-key", "shoes", "s404", false),
    ];
    for (set, field, says, tag, invalidates) in rows {
        let cache = cache();
        let layer = set(CacheLayer::new(cache.clone()));
        let mut service = layer.layer(tagged(&[(field, says.to_owned())]));
        ask(&mut service).await;
        cache.invalidator().invalidate(&Invalidation::tag(tag)).await;
        let expected = if invalidates { "1" } else { "0" };
        assert_eq!(ask(&mut service).await.text(), expected, "{field}: {says}, then {tag}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_layer_that_gives_stale_answers_reads_tags_where_it_is_told_to() {
    let cache = cache();
    let layer = StaleWhileRevalidateLayer::new(cache.clone(), Duration::from_secs(60))
        .tag_field(HeaderName::from_static("x-tags"))
        .tags(|_| vec!["page".to_owned()]);
    let mut service = layer.layer(tagged(&[("x-tags", "shoes".to_owned())]));
    for (call, tag) in ["shoes", "page"].into_iter().enumerate() {
        assert_eq!(ask(&mut service).await.text(), call.to_string());
        cache.invalidator().invalidate(&Invalidation::tag(tag)).await;
    }
    assert_eq!(ask(&mut service).await.text(), "2");
}

#[tokio::test(start_paused = true)]
async fn each_of_64_tags_invalidates_and_an_answer_with_65_is_not_stored() {
    let words = |many: usize| (0..many).map(|tag| format!("t{tag} ")).collect::<String>();
    for last in [0, 31, 32, 63] {
        let cache = cache();
        let fields =
            [("surrogate-key", words(32)), ("cache-tag", words(64)[words(32).len()..].into())];
        let mut service = CacheLayer::new(cache.clone()).layer(tagged(&fields));
        ask(&mut service).await;
        assert_eq!(ask(&mut service).await.cache_status(), "hit");
        cache.invalidator().invalidate(&Invalidation::tag(format!("t{last}"))).await;
        assert_eq!(ask(&mut service).await.text(), "1", "t{last}");
    }
    let refusals = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&refusals);
    let cache = cache_builder().observer(move |event: &Event<'_>| {
        if let Event::NotStored(why) = event {
            noted.lock().unwrap().push(why.to_string());
        }
    });
    let cache = cache.build();
    let layer = CacheLayer::new(cache.clone()).tags(|_| vec!["one-more".to_owned()]);
    let mut service = layer.layer(tagged(&[("surrogate-key", words(64))]));
    for call in 0..3 {
        assert_eq!(ask(&mut service).await.text(), call.to_string());
    }
    assert_eq!(cache.figures().records, 0);
    let refusals = refusals.lock().unwrap();
    assert_eq!(refusals.len(), 3, "{refusals:?}");
    assert!(refusals.iter().all(|why| why.contains("tag")), "{refusals:?}");
}

#[tokio::test(start_paused = true)]
async fn a_tag_of_one_variant_leaves_the_others_and_the_key_takes_all() {
    let (_, inner) = origin(|call, request| async move {
        let language = request.headers()["accept-language"].to_str().unwrap().to_owned();
        let fields = [
            ("cache-control", "max-age=600"),
            ("vary", "accept-language"),
            ("cache-tag", &format!("all, in-{language}")),
        ];
        Ok(answer(&fields, call.to_string()))
    });
    let cache = cache();
    let mut service = CacheLayer::new(cache.clone()).layer(inner);
    let asks = |language| with(get("/"), "accept-language", language);
    let mut texts = async |expected: [&str; 2]| {
        for (language, expected) in ["de", "en"].into_iter().zip(expected) {
            assert_eq!(call(&mut service, asks(language)).await.unwrap().text(), expected);
        }
    };
    texts(["0", "1"]).await;
    texts(["0", "1"]).await;
    cache.invalidator().invalidate(&Invalidation::tag("in-de")).await;
    texts(["2", "1"]).await;
    let key = Invalidation::key(&seawall::UriKey::new(), &asks("fr")).unwrap();
    cache.invalidator().invalidate(&key).await;
    texts(["3", "4"]).await;
    cache.invalidator().invalidate(&Invalidation::uri(get("/").uri()).unwrap()).await;
    texts(["5", "6"]).await;
    cache.invalidator().invalidate(&Invalidation::tag("all")).await;
    texts(["7", "8"]).await;
}
