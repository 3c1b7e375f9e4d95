//! Reading a record takes no more memory than its bytes are worth, whatever they say.

use std::{fs, path::Path};

use bytes::Bytes;
use seawall::store::{Key, Record};
use xxhash_rust::xxh3::xxh3_64;

use crate::{HEAP, KIB, MIB, alone, mib};

/// Each field takes ten bytes at least, and about a hundred and fifty in a map that grows by doubling.
const TIMES: usize = 40;
const BESIDE: usize = 4 * KIB;

/// With the checksum of what is there now.
fn summed(mut bytes: Vec<u8>) -> Bytes {
    let sum = xxh3_64(&bytes[12..]).to_be_bytes();
    bytes[4..12].copy_from_slice(&sum);
    bytes.into()
}

/// Behind the beginning of every record of this key.
fn record(key: &[u8], rest: &[u8]) -> Bytes {
    let length = u32::try_from(key.len()).unwrap().to_be_bytes();
    summed([b"swl\x01........", &length[..], key, rest].concat())
}

/// By how much the heap grew at its peak, over what is there already.
fn peak_of_reading(key: &Key, bytes: Bytes) -> (bool, usize) {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let is_read = Record::from_bytes(key, bytes).is_ok();
    (is_read, HEAP.peak_usage().saturating_sub(before))
}

/// The records of every layout that there was, each with its key, its fields as they are.
fn golden() -> Vec<(String, Vec<u8>)> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layout/1");
    let files = fs::read_dir(place).unwrap().map(|file| file.unwrap().path());
    let named = |file: std::path::PathBuf| {
        (file.file_name().unwrap().to_string_lossy().into_owned(), fs::read(file).unwrap())
    };
    files.map(named).collect()
}

fn key_of(bytes: &[u8]) -> Key {
    let length = u32::from_be_bytes(bytes[12..16].try_into().unwrap()) as usize;
    Key::from(&bytes[16..16 + length])
}

#[test]
fn no_length_in_a_record_is_believed_before_there_is_as_much() {
    let _alone = alone();
    let mut worst = (0, String::new());
    for (name, golden) in golden() {
        let key = key_of(&golden);
        for at in 12..golden.len() {
            for (width, value) in [
                (1, 0xff_u64),
                (2, 0x0400),
                (2, 0xffff),
                (4, 0x7fff_ffff),
                (4, 0xffff_ffff),
                (8, 64 << 20),
                (8, u64::MAX),
            ] {
                let mut bytes = golden.clone();
                let Some(place) = bytes.get_mut(at..at + width) else { continue };
                place.copy_from_slice(&value.to_be_bytes()[8 - width..]);
                let most = TIMES * bytes.len() + BESIDE;
                let (_, peak) = peak_of_reading(&key, summed(bytes));
                assert!(peak <= most, "{name}: {value:#x} at {at} took {peak} bytes");
                if peak > worst.0 {
                    worst = (peak, format!("{name} at {at}"));
                }
            }
        }
    }
    println!("most: {} bytes, {}", worst.0, worst.1);
}

#[test]
fn a_record_of_nothing_but_small_things_takes_a_few_times_its_bytes() {
    let _alone = alone();
    let plain = golden().into_iter().find(|(name, _)| name == "plain").unwrap().1;
    let key = key_of(&plain);
    let own = key.as_bytes();
    // The names, up to the fields, as in a record that is one.
    let from = 16 + own.len();
    let names = u32::from_be_bytes(plain[from + 1..from + 5].try_into().unwrap()) as usize;
    let to_fields = from + 5 + names + 6 * 8 + 2 + 4 + 24 + 4 + 4 + 1 + 1;
    let head = &plain[from + 5 + names..to_fields];
    let run =
        |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let rest = |names: &[u8], fields: &[u8], trailers: &[u8]| {
        [&[0][..], &run(names), head, fields, &[0], trailers, &run(b"{\"a\": 1}")].concat()
    };
    let none = [0, 0];
    let field = |n: u32| [run(format!("{n:x}").as_bytes()), vec![0], run(b"")].concat();
    let different: Vec<u8> = (0..1_024).flat_map(field).collect();
    let different = [&[4, 0][..], &different].concat();
    let same = [&[4, 0][..], &field(1).repeat(1_024)].concat();
    let named = [2, 0, 0, 0, 0].repeat(1_024);
    let variant = run(&[own, b"v"].concat());
    let variants = |count: u16| {
        let sets =
            [&[0, 4][..], &[&[0, 64][..], &run(b"x").repeat(64)].concat().repeat(4)].concat();
        let known = [&count.to_be_bytes()[..], &variant.repeat(count.into())].concat();
        [&[1; 9][..], &sets, &known].concat()
    };
    let trailers = [&[1][..], &different].concat();
    for (what, rest) in [
        ("nothing", rest(&[], &none, &[0])),
        ("names", rest(&named, &none, &[0])),
        ("different fields", rest(&[], &different, &[0])),
        ("lines of one field", rest(&[], &same, &[0])),
        ("trailers", rest(&[], &none, &trailers)),
        ("variants", variants(65_535)),
    ] {
        let bytes = record(own, &rest);
        let length = bytes.len();
        let (is_read, peak) = peak_of_reading(&key, bytes);
        println!("{what}: {length} bytes took {peak}, {:.1} times", peak as f64 / length as f64);
        assert!(is_read, "{what}");
        assert!(peak <= TIMES * length + BESIDE, "{what}: {length} bytes took {peak}");
    }
}

#[test]
fn a_body_that_is_compressed_takes_what_it_says_and_never_more_than_64_mib() {
    let _alone = alone();
    let golden = golden().into_iter().find(|(name, _)| name == "compressed").unwrap().1;
    let key = key_of(&golden);
    // The body, 1,600 bytes, is last: its length, and a run.
    let at = golden.windows(8).position(|some| some == 1_600_u64.to_be_bytes()).unwrap();
    // A literal, and then as often as a block can say it, which is 255 times for each of its bytes.
    let bomb = |mib: usize| {
        let more = mib * MIB / 255;
        let block = [&[0x1f, b'x', 1, 0][..], &vec![0xff; more], &[0, 0]].concat();
        let length = 1 + 15 + 4 + 255 * more as u64;
        let run = [&u32::try_from(block.len()).unwrap().to_be_bytes()[..], &block].concat();
        (length, summed([&golden[..at], &length.to_be_bytes(), &run].concat()))
    };
    for (size, is_body) in [(1, true), (60, true), (65, false), (400, false)] {
        let (says, bytes) = bomb(size);
        let length = bytes.len();
        let (is_read, peak) = peak_of_reading(&key, bytes);
        println!("{} that says to be {}: {}", mib(length), mib(says as usize), mib(peak));
        assert_eq!(is_read, is_body);
        let most = if is_body { size * MIB } else { 0 };
        assert!(peak <= most + TIMES * KIB, "{peak}");
    }
}
