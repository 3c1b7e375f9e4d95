//! Keys made to meet in the store's tables: all are kept, and looked up as fast as any others.

use std::{hash::BuildHasher, hint::black_box, time::Duration};

use foldhash::quality::FixedState;
use seawall::{
    BoxError, CacheLayer,
    store::{Key, Memory, Record, Store},
};
use tokio::{sync::mpsc, time::Instant};
use tower::Layer;

use crate::support::{answer, call, get, origin};

const KEYS: usize = 100_000;
/// Holds the longest of them nearly twice, but not even the shortest in one part of the store.
const CAPACITY: u64 = 256 << 20;
/// So many share a hash, if the seed is known. All of them could, but to see that takes minutes.
const CHAIN: usize = 500;
/// Where foldhash begins with its fixed seed: digits of pi, `ARBITRARY3` in its source.
const FIXED_SEED: u64 = 0x082e_fa98_ec4e_6c89;

/// Hands on what it should keep: only a cache makes entries.
struct Taken(mpsc::UnboundedSender<Record>);

impl Store for Taken {
    async fn get(&self, _: &Key) -> Result<Option<Record>, BoxError> {
        Ok(None)
    }

    async fn put(&self, _: Key, record: Record) -> Result<(), BoxError> {
        Ok(self.0.send(record)?)
    }

    async fn remove(&self, _: &Key) -> Result<(), BoxError> {
        Ok(())
    }
}

/// The first word is the seed as it is by then: together they are zero, and the word that is
/// multiplied with that is lost.
fn of_one_hash(n: usize) -> Vec<u8> {
    let seed = FIXED_SEED.rotate_right(31).to_ne_bytes();
    let (chain, lost) = ((n / CHAIN).to_le_bytes(), (n % CHAIN).to_le_bytes());
    [&seed[..], &chain, &lost[..7], b"attacked"].concat()
}

/// Keys whose hashes agree in eight bits: the lowest, which choose a place in a table; those that
/// choose the table; the highest, which tell apart what is in one place.
fn searched() -> [Vec<Vec<u8>>; 3] {
    let (mut found, mut n) = ([const { Vec::new() }; 3], 0_u64);
    let mut key = *b"example?12345678";
    while found.iter().any(|keys| keys.len() < KEYS) {
        n += 1;
        key[8..].copy_from_slice(&n.to_le_bytes());
        let hash = FixedState::default().hash_one(&key[..]).to_le_bytes();
        for (keys, byte) in found.iter_mut().zip([0, 4, 7]) {
            if hash[byte] == 0 && keys.len() < KEYS {
                keys.push(key.to_vec());
            }
        }
    }
    found
}

/// The p99 of each store's look-ups, and how many of its keys it lacks.
fn looked_up(both: &[(Memory, Vec<Vec<u8>>); 2]) -> ([Duration; 2], [usize; 2]) {
    let (mut times, mut missing) = ([const { Vec::new() }; 2], [0; 2]);
    // By turns, so that what else runs slows both; not in the order in which memory was taken.
    for n in (0..KEYS).map(|n| n * 61_803 % KEYS) {
        for (which, (store, keys)) in both.iter().enumerate() {
            let began = Instant::now();
            let found = black_box(store.peek(&keys[n]));
            times[which].push(began.elapsed());
            missing[which] += usize::from(found.is_none());
        }
    }
    (times.map(|mut times| *times.select_nth_unstable(KEYS * 99 / 100).1), missing)
}

#[tokio::test]
async fn keys_made_to_collide_are_all_kept_and_looked_up_as_fast_as_others() {
    let (taken, mut records) = mpsc::unbounded_channel();
    let (_, origin) = origin(|_, _| async { Ok(answer(&[("cache-control", "max-age=60")], "")) });
    call(&mut CacheLayer::new(Taken(taken)).layer(origin), get("/")).await.unwrap();
    let record = records.recv().await.unwrap();
    let hash = |n| FixedState::default().hash_one(&of_one_hash(n)[..]);
    assert!((1..CHAIN).all(|n| hash(n) == hash(0)), "foldhash has changed, the attack must too");
    let [low, middle, high] = searched();
    let apart = |n| [vec![0; n / 255], vec![(n % 255 + 1) as u8], vec![0; 399 - n / 255]].concat();
    let families: [(_, Vec<Vec<u8>>); 6] = [
        ("one hash", (0..KEYS).map(of_one_hash).collect()),
        ("low bits", low),
        ("middle bits", middle),
        ("high bits", high),
        ("one byte apart", (0..KEYS).map(apart).collect()),
        ("one prefix", (0..KEYS).map(|n| format!("{n:0>400}").into_bytes()).collect()),
    ];
    let mut failed = Vec::new();
    for (family, crafted) in families {
        // As long as the crafted ones: every byte is hashed and compared.
        let length = crafted[0].len();
        let ordinary = |n| format!("{:x<length$}", format!("{n}.example/")).into_bytes();
        let both = [crafted, (0..KEYS).map(ordinary).collect()]
            .map(|keys| (Memory::bytes(CAPACITY), keys));
        for (store, keys) in both.each_ref() {
            for key in keys {
                store.put(Key::from(&key[..]), record.clone()).await.unwrap();
            }
        }
        let fine = (0..3).any(|_| {
            let ([p99, beside], missing) = looked_up(&both);
            println!("{family}: p99 {p99:?} beside {beside:?}, missing {missing:?}");
            p99 <= 2 * beside && missing == [0; 2]
        });
        failed.extend((!fine).then_some(family));
    }
    assert!(failed.is_empty(), "{failed:?}");
}
