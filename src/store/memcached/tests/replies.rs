//! The parser: streams cut anywhere, streams of anything.

use bytes::{BufMut, Bytes};
use proptest::prelude::*;

use super::super::replies::{Malformed, Replies, Reply};

const MOST: usize = 100_000;

/// Everything up to the first error, from pieces of these sizes.
fn read(stream: &[u8], pieces: &[usize]) -> (Vec<Reply>, Result<(), Malformed>) {
    let mut replies = Replies::new(MOST);
    let (mut seen, mut rest, mut sizes) = (Vec::new(), stream, pieces.iter().cycle());
    while !rest.is_empty() {
        let mut space = replies.space();
        let size = (*sizes.next().unwrap()).clamp(1, rest.len()).min(space.remaining_mut());
        assert!(size > 0, "there is always room");
        space.put_slice(&rest[..size]);
        rest = &rest[size..];
        loop {
            match replies.next() {
                Ok(Some(reply)) => seen.push(reply),
                Ok(None) => break,
                Err(malformed) => return (seen, Err(malformed)),
            }
        }
    }
    (seen, Ok(()))
}

fn sample() -> (Vec<u8>, Vec<Reply>) {
    let large = vec![b'\n'; 70_000];
    let mut stream =
        b"HD O1\r\nVA 5 O2\r\nhello\r\nEN\r\nEN O3\r\nVA 0 kx O4 t7\r\n\r\nNF O5\r\nMN\r\n\
        SERVER_ERROR out of memory storing object\r\nVA 8 O18446744073709551615\r\nEN\r\nEN\r\n\r\n\
        VA 70000 O6\r\n"
            .to_vec();
    stream.extend_from_slice(&large);
    stream.extend_from_slice(b"\r\nCLIENT_ERROR bad data chunk\r\nERROR\r\nHD O7 \r\n");
    let replies = vec![
        Reply::Done(1),
        Reply::Value(2, Bytes::from_static(b"hello")),
        Reply::Nothing(None),
        Reply::Nothing(Some(3)),
        Reply::Value(4, Bytes::new()),
        Reply::NotFound(5),
        Reply::Noop,
        Reply::ServerError("SERVER_ERROR out of memory storing object".into()),
        Reply::Value(u64::MAX, Bytes::from_static(b"EN\r\nEN\r\n")),
        Reply::Value(6, large.into()),
        Reply::Misunderstood("CLIENT_ERROR bad data chunk".into()),
        Reply::Misunderstood("ERROR".into()),
        Reply::Done(7),
    ];
    (stream, replies)
}

#[test]
fn replies_are_the_same_wherever_the_stream_is_cut() {
    let (stream, replies) = sample();
    // Every byte of the lines; the large value is cut in its first and last ones, and in between.
    let cuts = (1..stream.len()).filter(|at| *at < 400 || *at > 69_900 || at % 997 == 0);
    for at in cuts {
        assert_eq!(read(&stream, &[at, usize::MAX]), (replies.clone(), Ok(())), "cut at {at}");
    }
    assert_eq!(read(&stream, &[1]), (replies, Ok(())));
}

#[test]
fn what_ends_early_is_a_part_of_the_replies_and_no_other() {
    let (stream, replies) = sample();
    for at in (0..stream.len()).filter(|at| *at < 400 || *at > 69_900) {
        let (seen, outcome) = read(&stream[..at], &[usize::MAX]);
        assert_eq!(outcome, Ok(()));
        assert_eq!(seen, replies[..seen.len()], "{at}");
    }
}

#[test]
fn what_is_no_reply_is_an_error() {
    for (line, reason) in [
        ("VA 100001 O1\r\n", "larger than the limit"),
        ("VA 18446744073709551615 O1\r\n", "larger than the limit"),
        ("VA 99999999999999999999999 O1\r\n", "no size"),
        ("VA -1 O1\r\n", "no size"),
        ("VA +1 O1\r\n", "no size"),
        ("VA  O1\r\n", "no size"),
        ("VA O1 5\r\n", "no size"),
        ("VA\r\n", "no size"),
        ("VA 5\r\nhello\r\n", "no token"),
        ("VA 5 O1\r\nhelloworld\r\n", "does not end where"),
        ("VA 5 O1\r\nhel\r\nxx", "does not end where"),
        ("VA 5 O\r\n", "not one of ours"),
        ("VA 5 O+1\r\n", "not one of ours"),
        ("VA 5 Oabc\r\n", "not one of ours"),
        ("HD\r\n", "no token"),
        ("HD O1 O\r\n", ""),
        ("NF\r\n", "no token"),
        ("EN O-1\r\n", "not one of ours"),
        ("HD O1\n", "CR LF"),
        ("\n", "CR LF"),
        ("\r\n", "no reply that we know"),
        (" HD O1\r\n", "no reply that we know"),
        ("hd O1\r\n", "no reply that we know"),
        ("VALUE k 0 5\r\n", "no reply that we know"),
        ("STORED\r\n", "no reply that we know"),
        ("HTTP/1.1 400 Bad Request\r\n", "no reply that we know"),
        ("+PONG\r\n", "no reply that we know"),
        ("\0\r\n", "no reply that we know"),
    ] {
        for pieces in [usize::MAX, 1] {
            let (_, outcome) = read(line.as_bytes(), &[pieces]);
            match outcome {
                Err(Malformed(why)) => assert!(why.contains(reason), "{line:?}: {why}"),
                Ok(()) => assert_eq!(reason, "", "{line:?}"),
            }
        }
    }
    let endless = "x".repeat(100_000);
    assert_eq!(read(endless.as_bytes(), &[1]).1, Err(Malformed("a line is too long")));
}

#[test]
fn a_value_of_the_largest_size_is_read_into_memory_of_its_size() {
    let mut stream = format!("VA {MOST} O1\r\n").into_bytes();
    stream.extend(vec![b'v'; MOST]);
    stream.extend(b"\r\n");
    let (mut seen, outcome) = read(&stream, &[30_000]);
    assert_eq!(outcome, Ok(()));
    let Some(Reply::Value(1, value)) = seen.pop() else { panic!("{seen:?}") };
    assert_eq!(value.len(), MOST);
    let memory = value.try_into_mut().expect("nobody else has it").capacity();
    assert!(memory <= MOST + 64, "{memory}");
}

#[test]
fn the_text_of_an_error_is_printable_and_short() {
    let line = format!("SERVER_ERROR \x1b[2J\u{7f}{}\r\n", "e".repeat(1_500));
    let (seen, _) = read(line.as_bytes(), &[usize::MAX]);
    let Some(Reply::ServerError(text)) = seen.first() else { panic!("{seen:?}") };
    assert!(text.starts_with("SERVER_ERROR \\x1b[2J\\x7feee") && text.len() < 300, "{text}");
    assert!(text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
}

/// Words of the protocol in any order: closer to it than bytes at random.
fn words() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        prop::sample::select(vec![
            "VA",
            "HD",
            "EN",
            "NF",
            "MN",
            " ",
            "\r\n",
            "\n",
            "\r",
            "O1",
            "O",
            "5",
            "0",
            "12",
            "-1",
            "ERROR",
            "SERVER_ERROR",
            "CLIENT_ERROR",
            "hello",
            "99999999999",
        ])
        .prop_map(|word| word.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_are_read_without_a_panic_and_alike(
        stream in prop_oneof![words(), prop::collection::vec(any::<u8>(), 0..400)],
        pieces in prop::collection::vec(1usize..40, 1..20),
    ) {
        prop_assert_eq!(read(&stream, &pieces), read(&stream, &[usize::MAX]));
    }

    #[test]
    fn values_of_any_bytes_come_out_as_they_went_in(
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
        pieces in prop::collection::vec(1usize..200, 1..20),
    ) {
        let mut stream = Vec::new();
        for (token, value) in values.iter().enumerate() {
            stream.extend(format!("VA {} O{token}\r\n", value.len()).into_bytes());
            stream.extend(value);
            stream.extend(b"\r\n");
        }
        let (seen, outcome) = read(&stream, &pieces);
        prop_assert_eq!(outcome, Ok(()));
        let expected: Vec<Reply> =
            (0..).zip(values).map(|(token, value)| Reply::Value(token, value.into())).collect();
        prop_assert_eq!(seen, expected);
    }
}
