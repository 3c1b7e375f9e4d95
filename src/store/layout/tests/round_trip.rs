//! What is written is read: any entry, any list of variants.

use http::header::{CONTENT_ENCODING, SET_COOKIE};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::{
    marks::Source,
    rfc9111::{incomplete::Part, vary::Names},
    store::Variants,
};

const NAMES: &[&str] = &[
    "cache-control",
    "connection",
    "content-type",
    "date",
    "etag",
    "last-modified",
    "link",
    "set-cookie",
    "transfer-encoding",
    "vary",
    "x-a",
    "x-a-name-that-is-longer-than-sixty-four-bytes-which-is-where-short-ones-end-x",
];

const VALUES: &[&str] = &[
    "",
    "\"v1\"",
    "max-age=60, stale-if-error=5",
    "Mon, 21 Sep 2026 15:46:39 GMT",
    "Mon, 21 Sep 2026 15:46:38 GMT",
    "a\tb  c",
];

fn values() -> impl Strategy<Value = HeaderValue> {
    let known = select(VALUES).prop_map(|value| value.as_bytes().to_vec());
    let random = vec(prop_oneof![Just(b'\t'), 32..127_u8, 128..=255_u8], 0..80);
    (prop_oneof![known, random], any::<bool>()).prop_map(|(bytes, sensitive)| {
        let mut value = HeaderValue::from_bytes(&bytes).expect("a value");
        value.set_sensitive(sensitive);
        value
    })
}

fn any_fields(most: usize) -> impl Strategy<Value = HeaderMap> {
    vec((select(NAMES), values()), 0..most).prop_map(|lines| {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(name, value);
        }
        fields
    })
}

/// Milliseconds, most of them ordinary.
fn times() -> impl Strategy<Value = Duration> {
    prop_oneof![0..5_000_u64, 0..100_000_000_u64, Just(20 * 365 * 86_400_000)].prop_map(ms)
}

fn names() -> impl Strategy<Value = Names> {
    vec(select(&["accept", "accept-encoding", "accept-language", "x-device"][..]), 0..4)
        .prop_map(|names| names.into_iter().map(HeaderName::from_static).collect())
}

fn lifetimes() -> impl Strategy<Value = Lifetime> {
    let demands = select(&[Demand::None, Demand::WhenStale, Demand::Always][..]);
    let windows = (option::of(times()), option::of(times()));
    (times(), times(), demands, windows, any::<[bool; 3]>()).prop_map(
        |(initial_age, fresh_for, demand, (while_revalidate, if_error), flags)| Lifetime {
            initial_age,
            fresh_for,
            explicit: flags[0],
            demand,
            stale_while_revalidate: while_revalidate,
            stale_if_error: if_error,
            for_authorization: flags[1],
            for_cookies: flags[2],
        },
    )
}

/// Everything that two heads may differ in; the times are before or after `clocks`.
pub(super) fn entries(clocks: Clocks) -> impl Strategy<Value = Entry> {
    let part = (0..50_u64, 0..50_u64, 1..50_u64);
    let part = part.prop_map(|(first, more, rest)| Part {
        first,
        last: first + more,
        total: first + more + rest,
    });
    let status = prop_oneof![
        (select(&[200, 204, 301, 404, 500, 599][..]), Just(None)),
        part.prop_map(|part| (206, Some(part))),
    ];
    let versions = select(
        &[Version::HTTP_09, Version::HTTP_10, Version::HTTP_11, Version::HTTP_2, Version::HTTP_3][..],
    );
    let sources = select(&[Source::Origin, Source::Storage, Source::Stale][..]);
    let head = (
        (status, versions, any_fields(12), option::of(values())),
        (option::of(names()), lifetimes(), times(), times()),
        (any::<[bool; 2]>(), any::<u64>(), vec("[ -~]{0,12}", 0..4), option::of(sources)),
    );
    let body = prop_oneof![vec(any::<u8>(), 0..300), vec(0..2_u8, 1_000..3_000)];
    let rest = (body, option::of(any_fields(4)), 0..100_000_000_u64, 0..20_000_000_000_u64);
    (head, rest).prop_map(move |((one, two, three), rest)| {
        let ((status, part), version, lines, below) = one;
        let (vary, lifetime, stored_for, took) = two;
        let ([has_length, proven], number, tags, source) = three;
        let (body, trailers, cost, until) = rest;
        let body = if part.is_some() && body.is_empty() { b"part".to_vec() } else { body };
        let tags: Vec<_> = tags.iter().map(String::as_str).collect();
        let entry = changed(entry(clocks, &[], ""), |head| {
            head.status = StatusCode::from_u16(status).expect("a status");
            head.counts_as = if proven { head.status } else { StatusCode::SERVICE_UNAVAILABLE };
            head.version = version;
            head.fields = with_ours(lines, below.as_ref());
            head.below = below;
            head.vary = vary;
            head.sharing = Sharing::Stored(lifetime);
            head.born = clocks.now - stored_for;
            head.asked = head.born - took;
            head.length = has_length.then_some(body.len() as u64);
            head.part = part;
            head.proven = proven;
            head.fence = fence(number);
            head.names = super::names(&tags);
            head.from_below = source.map(|source| Served::new(source, Some(fence(1))));
        });
        Entry {
            body: body.into(),
            trailers: trailers.map(Arc::new),
            cost: Duration::from_micros(cost),
            until: clocks.now + ms(until),
            ..entry
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn an_entry_comes_back_as_it_was_and_is_written_alike(
        above in option::of(0..2_000_usize),
        (clocks, entry) in Just(clocks()).prop_flat_map(|clocks| (Just(clocks), entries(clocks))),
    ) {
        let mut layout = Layout::default();
        if let Some(above) = above {
            layout.compress_above(above);
        }
        let bytes = layout.write(&key(), &Record::Entry(entry.clone()), clocks).expect("kept");
        let found = read_entry(bytes.clone(), clocks);
        assert_same(&entry, &found, clocks);
        prop_assert!(found.far.is_none());
        prop_assert!((0.0..=1.0).contains(&found.head.spread));
        let again = layout.write(&key(), &Record::Entry(found), clocks).expect("kept");
        // Fields have no order between names.
        prop_assert_eq!(again.len(), bytes.len());
        assert_same(&entry, &read_entry(again, clocks), clocks);
    }
}

fn variants(sets: usize, known: usize, clocks: Clocks) -> Variants {
    let set = |n| [HeaderName::from_static("accept"), format!("x-{n}").parse().expect("a name")];
    let variant = |n: usize| Key::from(&*[key().as_bytes(), &n.to_be_bytes()].concat());
    let sets = (0..sets).map(|n| set(n).into_iter().collect()).collect();
    Variants::of(sets, (0..known).map(variant).collect(), clocks.now + ms(5_000))
}

#[test]
fn a_list_of_variants_comes_back_as_it_was() {
    let clocks = clocks();
    for (sets, known) in [(0, 0), (1, 1), (4, 32), (2, 1_000), (1, 65_535)] {
        let list = Arc::new(variants(sets, known, clocks));
        let record = Record::Variants(Arc::clone(&list));
        let bytes = Layout::default().write(&key(), &record, clocks).expect("a record");
        let Ok(Record::Variants(found)) = read(bytes, clocks) else { panic!("variants") };
        assert_eq!(found.sets(), list.sets());
        assert_eq!(found.known(), list.known());
        assert_eq!(found.until(), list.until());
    }
    for (sets, known) in [(5, 1), (1, 65_536)] {
        let record = Record::Variants(Arc::new(variants(sets, known, clocks)));
        assert!(Layout::default().write(&key(), &record, clocks).is_none(), "{sets} {known}");
    }
}

#[test]
fn what_no_other_process_could_use_is_not_written() {
    let clocks = clocks();
    let kept = |entry| Layout::default().write(&key(), &Record::Entry(entry), clocks).is_some();
    let sane = || entry(clocks, &[("set-cookie", "a=b"), ("connection", "close")], "body");
    assert!(sane().head.fields.contains_key(SET_COOKIE), "nobody is to ask what a field means");
    assert!(kept(sane()));
    assert!(!kept(changed(sane(), |head| head.sharing = Sharing::OWN)));
    assert!(!kept(changed(sane(), |head| head.status = StatusCode::CONTINUE)));
    assert!(!kept(changed(sane(), |head| head.status = StatusCode::NOT_MODIFIED)));
    assert!(!kept(changed(sane(), |head| head.length = Some(5))));
    assert!(!kept(changed(sane(), |head| {
        // They say nothing to another process.
        head.names = InvalidatedBy::default();
        head.names.push(&Name::tag(b"shoes"), false);
    })));
    let tags: Vec<_> = (0..1_025).map(|n| n.to_string()).collect();
    let tags: Vec<_> = tags.iter().map(String::as_str).collect();
    assert!(kept(changed(sane(), |head| head.names = super::names(&tags[..1_022]))));
    assert!(!kept(changed(sane(), |head| head.names = super::names(&tags[..1_023]))));
    for (count, is_kept) in [(1_024, true), (1_025, false)] {
        let mut lines = HeaderMap::new();
        for _ in 0..count {
            lines.append("x-a", HeaderValue::from_static("b"));
        }
        let many = changed(sane(), |head| head.fields = with_ours(lines.clone(), None));
        assert_eq!(kept(many), is_kept, "{count} fields");
        let many = Entry { trailers: Some(Arc::new(lines)), ..sane() };
        assert_eq!(kept(many), is_kept, "{count} trailers");
    }
    let other = Key::from(&b"another key"[..]);
    let foreign = Variants::of(vec![], vec![other], clocks.now);
    let record = Record::Variants(Arc::new(foreign));
    assert!(Layout::default().write(&key(), &record, clocks).is_none());
}

#[test]
fn a_body_is_compressed_where_that_is_wanted_and_gains_an_eighth() {
    let clocks = clocks();
    let kind = PREFIX + 4 + key().as_bytes().len();
    let noise: Bytes = (0..4_000).map(|_| fastrand::u8(..)).collect();
    let text = Bytes::from("seawall ".repeat(500));
    let coded =
        changed(entry(clocks, &[("content-encoding", "br")], ""), |head| head.length = None);
    let plain = changed(entry(clocks, &[], ""), |head| head.length = None);
    assert!(coded.head.fields.contains_key(CONTENT_ENCODING));
    for (entry, body, above, expected) in [
        (&plain, &text, None, ENTRY),
        (&plain, &text, Some(0), COMPRESSED),
        (&plain, &text, Some(3_999), COMPRESSED),
        (&plain, &text, Some(4_000), ENTRY),
        (&plain, &noise, Some(0), ENTRY),
        (&coded, &text, Some(0), ENTRY),
        (&plain, &Bytes::new(), Some(0), ENTRY),
    ] {
        let layout = Layout { compress_above: above, ..Layout::default() };
        let entry = Entry { body: body.clone(), ..entry.clone() };
        let bytes = layout.write(&key(), &Record::Entry(entry.clone()), clocks).expect("kept");
        assert_eq!(bytes[kind], expected, "{} bytes above {above:?}", body.len());
        let found = read_entry(bytes, clocks);
        assert_same(&entry, &found, clocks);
    }
}

#[test]
fn a_record_shares_the_bytes_that_it_was_read_from_and_keeps_no_compressed_body() {
    let clocks = clocks();
    let stored = Entry {
        body: Bytes::from("seawall ".repeat(500)),
        ..changed(entry(clocks, &[("x-a", "a value")], ""), |head| head.length = None)
    };
    for (above, shares) in [(None, true), (Some(0), false)] {
        let layout = Layout { compress_above: above, ..Layout::default() };
        let bytes = layout.write(&key(), &Record::Entry(stored.clone()), clocks).expect("kept");
        let found = read_entry(bytes.clone(), clocks);
        let within = |part: &[u8]| bytes.as_ptr_range().contains(&part.as_ptr());
        assert_eq!(within(&found.body), shares);
        assert_eq!(within(found.head.fields["x-a"].as_bytes()), shares);
    }
}
