//! What is invalidated at one gateway, that one gives no more, wherever it is stored and whoever stored
//! it.

use super::*;

fn page(text: &str) -> String {
    assert_eq!(text.len(), 8);
    PAGE.replace("the page", text)
}

/// Waits until the shared store has this text in a record, and says whether it ever had.
async fn holds(redis: &Redis, text: &str) -> bool {
    eventually(|| {
        let keys = redis.command(&["KEYS", "*"]).texts();
        keys.iter().any(|key| {
            let value = redis.command(&["GET", key]);
            value.bytes().windows(text.len()).any(|window| window == text.as_bytes())
        })
    })
    .await
}

/// What one gateway gives, after the other has stored a page: before it is told of an invalidation, if it
/// is `asked` then, after that, and what a third gives that starts later.
async fn told(redis: &Redis, query: &str, asked: bool) -> [String; 3] {
    let (origin, says, _asked) = changing(PAGE).await;
    let start = || Gateway::before(origin, &["--redis", &redis.url()]);
    for number in 0..TRIALS {
        // What a gateway has been told it goes by ever after.
        let [first, second] = [start(), start()];
        let path = format!("/{number}");
        let trial = async || {
            assert!(redis.command(&["FLUSHALL"]).is_ok());
            says.send(page("old page")).unwrap();
            second.get(&path).await;
            let mut held = holds(redis, "old page").await;
            let found = if asked { first.get(&path).await } else { String::new() };
            says.send(page("new page")).unwrap();
            let query = query.replace("/PATH", &path);
            assert_eq!(status(&first.invalidate(&query).await), 200, "{query}");
            let fresh = first.get(&path).await;
            held &= holds(redis, "new page").await;
            (held, found, fresh)
        };
        let Some((held, found, fresh)) = calm(&[&first, &second], trial).await else { continue };
        assert!(held, "{query}, {asked}: not written");
        let third = start();
        if let Some(later) = calm(&[&third], async || third.get(&path).await).await {
            return [found, fresh, later];
        }
    }
    panic!("a store failed in each trial");
}

#[tokio::test]
async fn what_is_invalidated_at_one_gateway_is_obeyed_there() {
    let redis = Redis::start();
    for query in ["tag=pages", "uri=http://a/PATH", "key=GET%20http://a/PATH", "all"] {
        // Whether it is in the memory of the one that is told, or only where both find it.
        for asked in [true, false] {
            let [found, fresh, later] = told(&redis, query, asked).await;
            if asked {
                assert_eq!(field(&found, "cache-status"), HIT, "{query}: {found}");
                assert!(found.ends_with("old page"), "{query}: {found}");
            }
            assert!(fresh.ends_with("new page"), "{query}, {asked}: {fresh}");
            assert!(field(&fresh, "cache-status").contains("; fwd="), "{query}: {fresh}");
            assert!(later.ends_with("new page"), "{query}, {asked}: {later}");
            assert_eq!(field(&later, "cache-status"), HIT, "{query}: {later}");
        }
    }
}

#[tokio::test]
async fn what_is_invalidated_softly_is_validated() {
    let redis = Redis::start();
    let (origin, says, mut asked) = changing(PAGE).await;
    let start = || Gateway::before(origin, &["--redis", &redis.url()]);
    let (first, second) = (start(), start());
    let (confirmed, sent) = calmly(&[&first, &second], async |number| {
        assert!(redis.command(&["FLUSHALL"]).is_ok());
        let path = format!("/{number}");
        says.send(PAGE.to_owned()).unwrap();
        second.get(&path).await;
        holds(&redis, "the page").await;
        while asked.try_recv().is_ok() {}
        let confirms =
            "HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\ncache-control: max-age=600\r\n\r\n";
        says.send(confirms.to_owned()).unwrap();
        assert_eq!(status(&first.invalidate("tag=pages&soft").await), 200);
        let confirmed = first.get(&path).await;
        (confirmed, asked.try_recv().expect("the origin was asked"))
    })
    .await;
    assert!(sent.contains("if-none-match: \"1\""), "{sent}");
    assert!(status(&confirmed) == 200 && confirmed.ends_with("the page"), "{confirmed}");
}
