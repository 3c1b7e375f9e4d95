//! What is found in a shared store and is not what this version wrote: in a rolling deployment, and
//! after whatever else may have happened there.

use super::*;

/// The only key there is, and its value.
fn only(redis: &Redis) -> (String, Vec<u8>) {
    let keys = redis.command(&["KEYS", "*"]).texts();
    assert_eq!(keys.len(), 1, "{keys:?}");
    let value = redis.command(&["GET", &keys[0]]).bytes().to_vec();
    (keys[0].clone(), value)
}

fn set(redis: &Redis, key: &str, value: &[u8]) {
    assert!(redis.command_bytes(&[b"SET", key.as_bytes(), value, b"EX", b"600"]).is_ok());
}

#[tokio::test]
async fn what_it_did_not_write_it_never_serves_and_replaces() {
    let redis = Redis::start();
    let (origin, says, mut asked) = changing(PAGE).await;
    let start = || Gateway::before(origin, &["--redis", &redis.url()]);
    let first = start();
    let stored = async |path: &str| {
        assert!(redis.command(&["FLUSHALL"]).is_ok());
        says.send(PAGE.to_owned()).unwrap();
        first.get(path).await;
        eventually(|| redis.command(&["DBSIZE"]).integer() == 1).await
    };
    // A record of another key, byte for byte.
    calmly(&[&first], async |number| stored(&format!("/other-{number}")).await).await;
    let (_, foreign) = only(&redis);

    type Change<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    let flipped = |at: usize| {
        move |value: &[u8]| {
            let mut value = value.to_vec();
            value[at] ^= 1;
            value
        }
    };
    let rows: [(&str, Change<'_>); 9] = [
        ("of the next layout", &|value| [&value[..3], &[2], &value[4..]].concat()),
        ("of layout 0", &|value| [&value[..3], &[0], &value[4..]].concat()),
        ("of another key", &|_| foreign.clone()),
        ("with a flipped bit in its body", &|value| flipped(value.len() - 1)(value)),
        ("with a flipped bit in its checksum", &flipped(5)),
        ("cut short", &|value| value[..value.len() - 1].to_vec()),
        ("longer", &|value| [value, b"x"].concat()),
        ("garbage", &|_| (0..=255).rev().collect()),
        ("nothing", &|_| Vec::new()),
    ];
    for (row, (what, change)) in rows.into_iter().enumerate() {
        let mut seen = None;
        for number in 0..TRIALS {
            let path = format!("/{row}-{number}");
            if calm(&[&first], async || stored(&path).await).await != Some(true) {
                continue;
            }
            let (key, value) = only(&redis);
            set(&redis, &key, &change(&value));
            says.send(PAGE.replace("the page", "new page")).unwrap();
            calls(&mut asked);
            // It has nothing in memory.
            let second = start();
            if let Some(answer) = calm(&[&second], async || second.get(&path).await).await {
                assert_eq!(of_store(&second, "hits").await, 0, "{what}");
                seen = Some((key, answer, calls(&mut asked)));
                break;
            }
        }
        let (key, answer, made) = seen.expect("a trial without a failure");
        assert!(answer.ends_with("new page"), "{what}: {answer}");
        assert_eq!((field(&answer, "cache-status"), made), (STORED, 1), "{what}: {answer}");
        let replaced = eventually(|| {
            redis.command(&["KEYS", "*"]).texts() == [key.as_str()]
                && only(&redis).1.ends_with(b"new page")
        });
        assert!(replaced.await, "{what}");
        assert_eq!(&only(&redis).1[..4], b"swl\x01", "{what}");
    }
}

#[tokio::test]
async fn whatever_is_found_the_breaker_stays_closed_and_other_keys_are_left_alone() {
    let redis = Redis::start();
    let (origin, mut asked) = scripted(PAGE).await;
    let start = || Gateway::before(origin, &["--redis", &redis.url()]);
    let (first, second) = (start(), start());
    let others = ["seawall:".to_owned() + &"0f".repeat(32), "canary".to_owned()];
    let mut trial = async |number| {
        assert!(redis.command(&["FLUSHALL"]).is_ok());
        let paths: Vec<_> = (0..30).map(|page| format!("/{number}-{page}")).collect();
        for path in &paths {
            first.get(path).await;
        }
        eventually(|| redis.command(&["DBSIZE"]).integer() == 30).await;
        for (at, key) in redis.command(&["KEYS", "*"]).texts().iter().enumerate() {
            if at % 2 == 0 {
                set(&redis, key, b"swl\x02 of another layout");
            } else {
                // A list of somebody else's.
                redis.command(&["DEL", key]);
                redis.command(&["RPUSH", key, "a", "b"]);
            }
        }
        for other in &others {
            set(&redis, other, b"swl\x02 not ours");
        }
        calls(&mut asked);
        let mut answers = Vec::new();
        for path in &paths {
            answers.push(second.get(path).await);
        }
        answers
    };
    let (mut answers, mut alone) = (Vec::new(), false);
    for number in 0..TRIALS {
        let (before, _) = health(&second).await;
        answers = calmly(&[&first], async |again| trial(number * TRIALS + again).await).await;
        // Each list is a read that failed, and nothing else is.
        alone = health(&second).await == (before + 15, true);
        if alone {
            break;
        }
    }
    assert!(alone, "another read failed in each trial");
    for answer in &answers {
        assert_eq!((status(answer), field(answer, "cache-status")), (200, STORED), "{answer}");
    }
    assert_eq!((answers.len(), calls(&mut asked)), (30, 30));
    assert!(health(&second).await.1, "its store is well");
    for other in &others {
        assert_eq!(redis.command(&["GET", other]).bytes(), b"swl\x02 not ours");
    }
}
