//! Records as they were written by each layout, in `tests/layout/VERSION/NAME`: they are read, and written,
//! as these bytes for ever. In them the process that fetched is sixteen times `p`.
//!
//! `cargo test --all-features --lib golden -- --ignored` writes those that are missing.

use std::{fs, path::PathBuf};

use super::*;
use crate::{
    marks::Source,
    rfc9111::{incomplete::Part, vary::Names},
    store::Variants,
};

fn place(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/layout/1")).join(name)
}

const PROCESS: [u8; 16] = [b'p'; 16];

fn own() -> [u8; 16] {
    Fence::default().parts().0.to_be_bytes()
}

/// As it would be if it had been fetched by the process `to` instead of by `from`.
fn fetched_by(bytes: &[u8], from: [u8; 16], to: [u8; 16]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(at) = bytes.windows(16).position(|some| some == from) {
        bytes[at..at + 16].copy_from_slice(&to);
    }
    summed(bytes)
}

/// All that there may be, and nothing that may be missing.
fn all(clocks: Clocks) -> Entry {
    let below = HeaderValue::from_static("edge; hit; ttl=5");
    let lines = [
        ("content-type", "text/plain"),
        ("link", "</1>; rel=\"next\""),
        ("link", "</2>; rel=\"prev\""),
        ("x-latin", "caf\u{e9}"),
        ("x-secret", "s3cret"),
    ];
    let mut fields = fields(&lines);
    fields.get_mut("x-secret").expect("it is there").set_sensitive(true);
    fields.insert("x-latin", HeaderValue::from_bytes(b"caf\xe9").expect("a value"));
    let entry = changed(entry(clocks, &[], "the body"), |head| {
        head.status = StatusCode::NOT_FOUND;
        head.counts_as = StatusCode::INTERNAL_SERVER_ERROR;
        head.version = Version::HTTP_2;
        head.fields = with_ours(fields, Some(&below));
        head.below = Some(below);
        head.vary = Some(Names::from_iter(["accept", "x-device"].map(HeaderName::from_static)));
        head.sharing = Sharing::Stored(Lifetime {
            initial_age: ms(1_500),
            fresh_for: ms(60_000),
            explicit: true,
            demand: Demand::WhenStale,
            stale_while_revalidate: Some(ms(10_000)),
            stale_if_error: Some(ms(20_000)),
            for_authorization: true,
            for_cookies: true,
        });
        head.fence = fence(0x0102_0304_0506_0708);
        head.names = names(&["shoes", ""]);
        head.names.push(&Name::group(b"https://example.com", b"g"), true);
        head.from_below = Some(Served::new(Source::Storage, None));
    });
    Entry { trailers: Some(Arc::new(self::fields(&[("x-checksum", "1")]))), ..entry }
}

fn records(clocks: Clocks) -> Vec<(&'static str, Record)> {
    let dates = [
        ("cache-control", "max-age=60"),
        ("content-type", "application/json"),
        ("date", "Mon, 21 Sep 2026 15:46:39 GMT"),
        ("etag", "\"v1\""),
        ("last-modified", "Mon, 21 Sep 2026 15:46:38 GMT"),
    ];
    let plain = || entry(clocks, &dates, "{\"a\": 1}");
    let part = changed(entry(clocks, &[("etag", "\"v1\"")], "cdef"), |head| {
        head.status = StatusCode::PARTIAL_CONTENT;
        head.counts_as = StatusCode::PARTIAL_CONTENT;
        head.part = Some(Part { first: 2, last: 5, total: 10 });
    });
    let grpc = changed(
        entry(clocks, &[("content-type", "application/grpc")], "\0\0\0\0\x02\x08\x01"),
        |head| {
            (head.version, head.length) = (Version::HTTP_2, None);
        },
    );
    let grpc = Entry { trailers: Some(Arc::new(fields(&[("grpc-status", "0")]))), ..grpc };
    let stale_below = changed(plain(), |head| {
        let below = HeaderValue::from_static("edge; fwd=stale");
        head.fields = with_ours(fields(&dates), Some(&below));
        head.below = Some(below);
        head.from_below = Some(Served::new(Source::Stale, None));
        lifetime_of(head).demand = Demand::Always;
    });
    let empty = changed(entry(clocks, &[], ""), |head| {
        (head.status, head.version) = (StatusCode::NO_CONTENT, Version::HTTP_10);
        (head.length, head.proven) = (None, false);
    });
    let compressed = changed(entry(clocks, &[], ""), |head| head.length = None);
    let compressed = Entry { body: Bytes::from("seawall ".repeat(200)), ..compressed };
    let set = |names: &[&'static str]| names.iter().copied().map(HeaderName::from_static).collect();
    let variant = |of: &str| Key::from(&*[key().as_bytes(), of.as_bytes()].concat());
    let variants = Variants::of(
        vec![set(&["accept", "accept-language"]), set(&["x-device"])],
        vec![variant("one"), variant("two")],
        clocks.now + ms(90_000),
    );
    vec![
        ("plain", Record::Entry(plain())),
        ("all", Record::Entry(all(clocks))),
        ("part", Record::Entry(part)),
        ("grpc", Record::Entry(grpc)),
        ("stale_below", Record::Entry(stale_below)),
        ("empty", Record::Entry(empty)),
        ("compressed", Record::Entry(compressed)),
        ("variants", Record::Variants(Arc::new(variants))),
    ]
}

fn layout(name: &str) -> Layout {
    Layout { compress_above: (name == "compressed").then_some(100), ..Layout::default() }
}

#[test]
fn golden_records_are_read_and_written_as_the_same_bytes_for_ever() {
    let clocks = clocks();
    for (name, record) in records(clocks) {
        let golden = fs::read(place(name)).expect(name);
        let written = layout(name).write(&key(), &record, clocks).expect(name);
        // What a body compresses to is for the compressor to say.
        if name != "compressed" {
            assert_eq!(fetched_by(&written, own(), PROCESS), golden, "{name} is written");
        }

        let found = read(fetched_by(&golden, PROCESS, own()), clocks).expect(name);
        match (&record, found) {
            (Record::Entry(record), Record::Entry(found)) => assert_same(record, &found, clocks),
            (Record::Variants(record), Record::Variants(found)) => {
                assert_eq!(found.sets(), record.sets());
                assert_eq!(found.known(), record.known());
                assert_eq!(found.until(), record.until());
            }
            (_, found) => panic!("{name} is read as {found:?}"),
        }

        // Another process reads the same, but for how far a journal had come that is not its own.
        match (read(golden.clone(), clocks).expect(name), &record) {
            (Record::Entry(found), Record::Entry(record)) => {
                assert_eq!(found.head.fence, fence(0));
                let own = changed(found, |head| head.fence = record.head.fence);
                assert_same(record, &own, clocks);
            }
            (found, _) => assert!(matches!(found, Record::Variants(_)), "{name}"),
        }
        let next = Layout { version: 2, ..Layout::default() };
        let unread = next.read(&key(), &golden.into(), clocks).map(drop);
        assert_eq!(unread, Err(Unreadable::Version(1)), "{name} in the next layout");
    }
}

#[test]
#[ignore = "writes the golden records that are missing"]
fn golden_records_that_are_missing_are_written() {
    let clocks = clocks();
    for (name, record) in records(clocks) {
        if !place(name).exists() {
            let written = layout(name).write(&key(), &record, clocks).expect(name);
            fs::write(place(name), fetched_by(&written, own(), PROCESS)).expect(name);
        }
    }
}

/// The tables of the module's documentation, line by line, without what the layout is written with.
#[test]
fn a_golden_record_is_what_the_tables_say() {
    let number = |value: u64| value.to_be_bytes().to_vec();
    let run =
        |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let field = |name: &str, sensitive: u8, value: &[u8]| {
        [run(name.as_bytes()), vec![sensitive], run(value)].concat()
    };
    let named = |kind: u8, name: &[u8]| [vec![kind], run(name)].concat();
    let checked = |kind: u8, rest: &[Vec<u8>]| {
        let follows = [run(key().as_bytes()), vec![kind], rest.concat()].concat();
        [b"swl\x01".to_vec(), number(xxh3_64(&follows)), follows].concat()
    };
    let names = [
        named(0, key().as_bytes()),
        named(1, b"example.com#/"),
        named(2, b"shoes"),
        named(2, b""),
        named(3, b"https://example.com#g"),
    ];
    let all = checked(
        0,
        &[
            run(&names.concat()),
            number(WALL - 1_000),     // when it arrived
            number(20),               // asked for, before that
            number(WALL + 3_600_000), // until when it is of use
            number(20_000),           // how long the fetch took, in microseconds
            number(1_500),            // its age then
            number(60_000),           // how long it is fresh
            vec![1],                  // stale-while-revalidate
            number(10_000),
            vec![1], // stale-if-error
            number(20_000),
            vec![1],       // validated once it is stale
            vec![1, 1, 1], // explicit; for Authorization; for Cookie
            PROCESS.to_vec(),
            number(0x0102_0304_0506_0708),
            vec![1, 148], // 404
            vec![1, 244], // as a 500
            vec![20],     // HTTP/2
            vec![1],      // its length was told
            vec![1],      // its end was seen
            vec![2],      // from storage, below
            vec![0],      // not a part
            vec![1, 0, 2],
            run(b"accept"),
            run(b"x-device"),
            vec![0, 5],
            field("content-type", 0, b"text/plain"),
            field("link", 0, b"</1>; rel=\"next\""),
            field("link", 0, b"</2>; rel=\"prev\""),
            field("x-latin", 0, b"caf\xe9"),
            field("x-secret", 1, b"s3cret"),
            vec![1, 0],
            run(b"edge; hit; ttl=5"),
            vec![1, 0, 1],
            field("x-checksum", 0, b"1"),
            run(b"the body"),
        ],
    );
    assert_eq!(fs::read(place("all")).unwrap(), all);

    let variant = |of: &[u8]| run(&[key().as_bytes(), of].concat());
    let variants = checked(
        1,
        &[
            number(WALL + 90_000),
            vec![0, 2],
            [vec![0, 2], run(b"accept"), run(b"accept-language")].concat(),
            [vec![0, 1], run(b"x-device")].concat(),
            vec![0, 2],
            variant(b"one"),
            variant(b"two"),
        ],
    );
    assert_eq!(fs::read(place("variants")).unwrap(), variants);

    // Where the others differ.
    let part = fs::read(place("part")).unwrap();
    let positions = [vec![0, 206, 0, 206, 11, 1, 1, 0, 1], number(2), number(5), number(10)];
    assert!(part.windows(33).any(|some| some == positions.concat()));
    let compressed = fs::read(place("compressed")).unwrap();
    assert_eq!(compressed[PREFIX + 4 + key().as_bytes().len()], 2);
    let block = compressed.windows(8).position(|some| some == number(1_600)).unwrap() + 8;
    let stored = u32::from_be_bytes(compressed[block..block + 4].try_into().unwrap());
    assert_eq!(block + 4 + stored as usize, compressed.len());
}
