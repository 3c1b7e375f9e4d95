//! Bytes that are no record, or not the right one: none of them is taken for one, and none does harm.

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

use super::{round_trip::entries, *};
use crate::{rfc9111::incomplete::Part, store::Variants};

/// The same hundred in each run, all of them small: that there are many is what counts.
fn hundred(clocks: Clocks) -> Vec<Bytes> {
    let mut runner = TestRunner::deterministic();
    let entries = entries(clocks);
    let bytes = (0..).map(|n| {
        let entry = entries.new_tree(&mut runner).expect("an entry").current();
        let layout = Layout { compress_above: (n % 2 == 0).then_some(500), ..Layout::default() };
        layout.write(&key(), &Record::Entry(entry), clocks).expect("it is kept")
    });
    bytes.filter(|bytes| bytes.len() < 700).take(100).collect()
}

#[test]
fn each_single_bit_flip_of_a_hundred_entries_is_a_miss() {
    let clocks = clocks();
    let mut flips = 0;
    for bytes in hundred(clocks) {
        assert!(read(bytes.clone(), clocks).is_ok());
        let mut bytes = bytes.to_vec();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                let found = read(Bytes::copy_from_slice(&bytes), clocks).map(drop);
                let expected = match at {
                    0..3 => Unreadable::NotARecord,
                    3 => Unreadable::Version(bytes[3]),
                    _ => Unreadable::Damaged,
                };
                assert_eq!(found, Err(expected), "bit {bit} of byte {at}");
                bytes[at] ^= 1 << bit;
                flips += 1;
            }
        }
    }
    println!("{flips} flips");
}

#[test]
fn what_is_cut_short_anywhere_or_goes_on_is_a_miss_also_with_the_right_checksum() {
    let clocks = clocks();
    for bytes in hundred(clocks) {
        for end in 0..bytes.len() {
            assert!(read(bytes.slice(..end), clocks).is_err(), "{end}");
            if end >= PREFIX {
                let cut = summed(bytes[..end].to_vec());
                assert_eq!(read(cut, clocks).map(drop), Err(Unreadable::Damaged), "{end}");
            }
        }
        for more in [&[0][..], &[1; 100]] {
            let longer = [&bytes, more].concat();
            assert!(read(longer.clone(), clocks).is_err());
            assert_eq!(read(summed(longer), clocks).map(drop), Err(Unreadable::Damaged));
        }
    }
}

#[test]
fn the_record_of_another_key_is_not_this_one() {
    let clocks = clocks();
    let bytes = written(entry(clocks, &[], "body"), clocks);
    let own = key();
    let longer = [own.as_bytes(), b"x"].concat();
    for other in [&b""[..], b"other", &own.as_bytes()[1..], &longer] {
        let found = Layout::default().read(&Key::from(other), &bytes, clocks);
        assert_eq!(found.map(drop), Err(Unreadable::OtherKey), "{other:?}");
    }
}

#[test]
fn a_layout_reads_and_names_nothing_of_another() {
    let clocks = clocks();
    let next = Layout { version: 2, ..Layout::default() };
    let record = Record::Entry(entry(clocks, &[], "body"));
    let one = Layout::default().write(&key(), &record, clocks).expect("kept");
    let two = next.write(&key(), &record, clocks).expect("kept");
    assert_eq!(read(two.clone(), clocks).map(drop), Err(Unreadable::Version(2)));
    assert_eq!(next.read(&key(), &one, clocks).map(drop), Err(Unreadable::Version(1)));
    assert!(next.read(&key(), &two, clocks).is_ok());
    let mut seen = std::collections::HashSet::new();
    for n in 0..10_000_u32 {
        let key = Key::from(&n.to_be_bytes()[..]);
        for version in [0, 1, 2, 255] {
            let layout = Layout { version, ..Layout::default() };
            assert!(seen.insert(layout.hash(&key)), "{n} {version}");
        }
    }
}

#[test]
fn a_name_is_the_same_for_ever() {
    let name = "eae79062e805a533ed9c6c33fd2d0f32ca6f43649abe8d9d13ea326f842ae48f";
    assert_eq!(Key::from(&b"key"[..]).name(), name);
}

/// Whatever number says how much follows: none of them is believed.
#[test]
fn a_length_that_is_not_so_is_a_miss_or_changes_what_is_read_and_harms_nobody() {
    let clocks = clocks();
    let mut read_ok = 0;
    for original in hundred(clocks).iter().take(20) {
        for at in PREFIX..original.len() {
            for (width, value) in [
                (1, 0),
                (1, 1),
                (1, 2),
                (1, 0xff),
                (2, 0x400),
                (2, 0xffff),
                (4, 0x7fff_ffff),
                (4, 0xffff_ffff),
                (8, u64::MAX),
            ] {
                let mut bytes = original.to_vec();
                let Some(place) = bytes.get_mut(at..at + width) else { continue };
                place.copy_from_slice(&u64::to_be_bytes(value)[8 - width..]);
                if let Ok(record) = read(summed(bytes), clocks) {
                    read_ok += 1;
                    let Some(found) = record.into_entry() else { continue };
                    assert!(found.body.len() < 4_000);
                }
            }
        }
    }
    assert!(read_ok > 1_000, "numbers that mean no length may be any: {read_ok}");
}

#[test]
fn an_answer_that_could_not_be_given_is_damaged() {
    let clocks = clocks();
    let whole = written(entry(clocks, &[], "body"), clocks);
    let part = Some(Part { first: 2, last: 5, total: 9 });
    let part = changed(entry(clocks, &[], "body"), |head| {
        (head.status, head.part) = (StatusCode::PARTIAL_CONTENT, part);
    });
    let part = written(part, clocks);
    let head = PREFIX + 4 + key().as_bytes().len() + 1 + 4 + names(&[]).said().len();
    // Six numbers, two windows that are not there, a demand, three flags, the fence.
    let status = head + 6 * 8 + 2 + 4 + 24;
    let first = status + 2 + 2 + 4 + 1;
    assert_eq!(whole[status..status + 2], [0, 200], "the places are right");
    assert_eq!(part[first..first + 8], 2_u64.to_be_bytes(), "the places are right");
    let with = |bytes: &Bytes, at: usize, new: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[at..at + new.len()].copy_from_slice(new);
        read(summed(bytes), clocks).map(drop)
    };
    let damaged = Err(Unreadable::Damaged);
    for (code, expected) in [
        (0_u16, damaged),
        (99, damaged),
        (100, damaged),
        (101, damaged),
        (103, damaged),
        (199, damaged),
        (304, damaged),
        (1_000, damaged),
        (200, Ok(())),
        (206, Ok(())),
        (404, Ok(())),
        (999, Ok(())),
    ] {
        assert_eq!(with(&whole, status, &code.to_be_bytes()), expected, "{code}");
    }
    assert_eq!(with(&whole, status + 2, &[0, 101]), damaged, "treated like a 101");
    assert_eq!(with(&part, status, &[0, 200]), damaged, "a part of a 200");
    for (first_to_last_of_total, expected) in [
        ([2_u64, 5, 9], Ok(())),
        ([5, 5, 6], Ok(())),
        ([6, 5, 9], damaged),
        ([2, 9, 9], damaged),
        ([2, u64::MAX, u64::MAX], damaged),
        ([0, u64::MAX - 1, u64::MAX], Ok(())),
    ] {
        let positions: Vec<_> =
            first_to_last_of_total.iter().flat_map(|position| position.to_be_bytes()).collect();
        assert_eq!(with(&part, first, &positions), expected, "{first_to_last_of_total:?}");
    }
    let mut empty = part[..part.len() - 4].to_vec();
    let length = empty.len() - 4;
    empty[length..].fill(0);
    assert_eq!(read(summed(empty), clocks).map(drop), damaged, "a part of nothing");
}

#[test]
fn fields_come_back_through_the_constructors_that_check_them() {
    let clocks = clocks();
    let bytes = written(entry(clocks, &[("x-name", "the value")], "body"), clocks).to_vec();
    let at = |what: &[u8]| bytes.windows(what.len()).position(|some| some == what).expect("there");
    let (name, value) = (at(b"x-name"), at(b"the value"));
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        read(summed(bytes), clocks)
    };
    for byte in 0..=255_u8 {
        let is_value = byte == b'\t' || (byte >= b' ' && byte != 127);
        assert_eq!(with(value + 3, byte).is_ok(), is_value, "{byte} in a value");
        let is_name = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        assert_eq!(with(name + 1, byte).is_ok(), is_name, "{byte} in a name");
    }
    let split = with(value + 3, b'\n');
    assert_eq!(split.map(drop), Err(Unreadable::Damaged));
}

#[test]
fn a_list_of_variants_names_no_key_but_its_own_variants() {
    let clocks = clocks();
    let variant = Key::from(&*[key().as_bytes(), b"v"].concat());
    let list = Variants::of(vec![], vec![variant.clone()], clocks.now);
    let record = Record::Variants(Arc::new(list));
    let bytes = Layout::default().write(&key(), &record, clocks).expect("kept").to_vec();
    let at = bytes.len() - variant.as_bytes().len();
    assert!(read(bytes.clone(), clocks).is_ok());
    let mut foreign = bytes.clone();
    foreign[at] ^= 1;
    assert_eq!(read(summed(foreign), clocks).map(drop), Err(Unreadable::Damaged));
    let mut own = bytes[..bytes.len() - 1].to_vec();
    own[at - 1] -= 1;
    assert_eq!(read(summed(own), clocks).map(drop), Err(Unreadable::Damaged), "the key itself");
    let mut long = bytes[..at - 4].to_vec();
    long.extend_from_slice(&8_193_u32.to_be_bytes());
    long.extend_from_slice(variant.as_bytes());
    long.resize(at + 8_193, 0);
    assert_eq!(read(summed(long), clocks).map(drop), Err(Unreadable::Damaged), "no key");
}

#[test]
fn a_compressed_body_is_as_long_as_it_says_and_no_longer_than_64_mib() {
    let clocks = clocks();
    let layout = Layout { compress_above: Some(0), ..Layout::default() };
    let body = Bytes::from(vec![b'x'; 1 << 20]);
    let entry = changed(entry(clocks, &[], ""), |head| head.length = None);
    let entry = Entry { body, ..entry };
    let bytes = layout.write(&key(), &Record::Entry(entry), clocks).expect("kept").to_vec();
    let at = bytes.windows(8).rposition(|some| some == (1_u64 << 20).to_be_bytes());
    let at = at.expect("its length");
    for length in [0, 1, (1 << 20) - 1, (1 << 20) + 1, 64 << 20, (64 << 20) + 1, u64::MAX] {
        let mut bytes = bytes.clone();
        bytes[at..at + 8].copy_from_slice(&length.to_be_bytes());
        assert_eq!(read(summed(bytes), clocks).map(drop), Err(Unreadable::Damaged), "{length}");
    }
    // What is behind the limit is written as it is.
    let large = Bytes::from(vec![b'x'; (64 << 20) + 1]);
    let record = Record::Entry(Entry { body: large, ..read_entry(bytes, clocks) });
    let bytes = layout.write(&key(), &record, clocks).expect("kept");
    assert!(bytes.len() > 64 << 20);
    assert_eq!(bytes[PREFIX + 4 + key().as_bytes().len()], ENTRY);
}
