//! What is to be sent: commands as bytes.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::command::What;

/// A value of this size is sent from where it is; a smaller one is copied, to be sent with its command.
const OWN_SLICE: usize = 8 * 1024;

/// Commands that are still to be sent, in their order.
#[derive(Default)]
pub(super) struct Outbox {
    /// Goes first.
    whole: VecDeque<Bytes>,
    /// How many bytes that is.
    before_tail: usize,
    tail: BytesMut,
}

impl Outbox {
    /// Adds a command, whose reply is to repeat `token`.
    pub(super) fn push(&mut self, what: &What, token: u64) {
        match what {
            What::Get(key) => self.words(&[b"mg ", key.as_bytes(), b" v O"], token),
            What::Delete(key) => self.words(&[b"md ", key.as_bytes(), b" O"], token),
            What::Ping => self.tail.put_slice(b"mn\r\n"),
            What::Set { key, value, expires } => {
                self.words(&[b"ms ", key.as_bytes(), b" "], None);
                self.number(value.len() as u64);
                self.tail.put_slice(b" T");
                self.number(*expires);
                self.words(&[b" O"], token);
                if value.len() < OWN_SLICE {
                    self.tail.put_slice(value);
                } else {
                    let head = self.tail.split().freeze();
                    self.before_tail += head.len() + value.len();
                    self.whole.extend([head, value.clone()]);
                }
                self.tail.put_slice(b"\r\n");
            }
        }
    }

    /// These words, and the token and the end of the line where there is one.
    fn words(&mut self, words: &[&[u8]], token: impl Into<Option<u64>>) {
        words.iter().for_each(|word| self.tail.put_slice(word));
        if let Some(token) = token.into() {
            self.number(token);
            self.tail.put_slice(b"\r\n");
        }
    }

    fn number(&mut self, number: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.tail.put_slice(&digits[at..]);
    }
}

impl Buf for Outbox {
    fn remaining(&self) -> usize {
        self.before_tail + self.tail.len()
    }

    fn chunk(&self) -> &[u8] {
        self.whole.front().map_or(&self.tail, |bytes| bytes)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let chunks = self.whole.iter().map(|bytes| &bytes[..]).chain([&self.tail[..]]);
        let mut filled = 0;
        for (slice, chunk) in slices.iter_mut().zip(chunks.filter(|chunk| !chunk.is_empty())) {
            *slice = IoSlice::new(chunk);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut sent: usize) {
        while let Some(first) = self.whole.front_mut() {
            let part = sent.min(first.len());
            first.advance(part);
            self.before_tail -= part;
            sent -= part;
            if first.has_remaining() {
                return;
            }
            self.whole.pop_front();
        }
        self.tail.advance(sent);
    }
}
