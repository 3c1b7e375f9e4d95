//! What a server says: bytes in, replies out.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut, buf::Limit};

/// A line is a few words, or an error that somebody is to read.
const LINE: usize = 2048;
const READ: usize = 32 * 1024;
/// Of an error's text we keep so much.
const TEXT: usize = 200;

/// One reply, with the token of the command that it answers where replies of its kind have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// `VA`: what the key holds.
    Value(u64, Bytes),
    /// `HD`: done.
    Done(u64),
    /// `EN`: the key holds nothing. Not every version repeats the token here.
    Nothing(Option<u64>),
    /// `NF`: there was nothing to delete.
    NotFound(u64),
    /// `MN`: the answer to a ping.
    Noop,
    /// `SERVER_ERROR`: the server is in trouble, and both sides agree where the next reply begins.
    ServerError(Arc<str>),
    /// `CLIENT_ERROR` or `ERROR`: it did not understand us, and what comes next may be anything.
    Misunderstood(Arc<str>),
}

/// These bytes are no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// The replies in a stream of bytes that comes in pieces.
///
/// It never holds more than one value of the largest size allowed, beside one buffer for lines. A value
/// is in memory of its own and of its size, so that keeping it keeps nothing else.
pub(super) struct Replies {
    lines: BytesMut,
    value: Option<Value>,
    /// Bytes of the largest value that is read.
    most: usize,
}

/// A value of which a part is here.
struct Value {
    token: u64,
    size: usize,
    /// Ends with CR LF, once it is whole.
    bytes: BytesMut,
}

impl Replies {
    pub(super) fn new(most: usize) -> Self {
        Self { lines: BytesMut::new(), value: None, most }
    }

    /// Where the next bytes go. After each read, [`next`](Self::next) is called until it has none.
    pub(super) fn space(&mut self) -> Limit<&mut BytesMut> {
        match &mut self.value {
            Some(Value { size, bytes, .. }) => {
                let missing = *size + 2 - bytes.len();
                bytes.limit(missing)
            }
            None => {
                if self.lines.capacity() - self.lines.len() < READ / 4 {
                    self.lines.reserve(READ);
                }
                (&mut self.lines).limit(READ)
            }
        }
    }

    /// The next reply, as soon as it is whole. After an error there is none.
    pub(super) fn next(&mut self) -> Result<Option<Reply>, Malformed> {
        if self.value.is_none() {
            let Some(line) = self.line()? else { return Ok(None) };
            match line {
                Line::Whole(reply) => return Ok(Some(reply)),
                Line::Value(token, size) => {
                    if size > self.most {
                        return Err(Malformed("a value is larger than the limit"));
                    }
                    let here = self.lines.len().min(size + 2);
                    if here == size + 2 {
                        let value = Bytes::copy_from_slice(&self.lines[..size]);
                        let end = [self.lines[size], self.lines[size + 1]];
                        self.lines.advance(here);
                        return ended(end).map(|()| Some(Reply::Value(token, value)));
                    }
                    let mut bytes = BytesMut::with_capacity(size + 2);
                    bytes.put(self.lines.split_to(here));
                    self.value = Some(Value { token, size, bytes });
                }
            }
        }
        match self.value.take_if(|value| value.bytes.len() == value.size + 2) {
            None => Ok(None),
            Some(Value { token, size, mut bytes }) => {
                ended([bytes[size], bytes[size + 1]])?;
                bytes.truncate(size);
                Ok(Some(Reply::Value(token, bytes.freeze())))
            }
        }
    }

    /// Takes a line, if a whole one is here.
    fn line(&mut self) -> Result<Option<Line>, Malformed> {
        let searched = self.lines.len().min(LINE);
        let Some(end) = self.lines[..searched].iter().position(|&byte| byte == b'\n') else {
            return match searched {
                LINE => Err(Malformed("a line is too long")),
                _ => Ok(None),
            };
        };
        let line = self.lines[..end].strip_suffix(b"\r");
        let line = line.ok_or(Malformed("a line does not end with CR LF")).and_then(read)?;
        self.lines.advance(end + 1);
        Ok(Some(line))
    }
}

fn ended(end: [u8; 2]) -> Result<(), Malformed> {
    if end == *b"\r\n" { Ok(()) } else { Err(Malformed("a value does not end where it said")) }
}

enum Line {
    Whole(Reply),
    /// The token and the size of a value that follows.
    Value(u64, usize),
}

/// Reads a line without its end.
fn read(line: &[u8]) -> Result<Line, Malformed> {
    let mut words = line.split(|&byte| byte == b' ');
    let code = words.next().unwrap_or_default();
    let reply = match code {
        b"VA" => {
            let size = words.next().and_then(number).and_then(|size| usize::try_from(size).ok());
            let size = size.ok_or(Malformed("a value has no size"))?;
            return Ok(Line::Value(required(token(words)?)?, size));
        }
        b"HD" => Reply::Done(required(token(words)?)?),
        b"NF" => Reply::NotFound(required(token(words)?)?),
        b"EN" => Reply::Nothing(token(words)?),
        b"MN" => Reply::Noop,
        b"SERVER_ERROR" => Reply::ServerError(text(line)),
        b"CLIENT_ERROR" | b"ERROR" => Reply::Misunderstood(text(line)),
        _ => return Err(Malformed("a line is no reply that we know")),
    };
    Ok(Line::Whole(reply))
}

/// The token among the flags of a reply.
fn token<'l>(mut flags: impl Iterator<Item = &'l [u8]>) -> Result<Option<u64>, Malformed> {
    match flags.find_map(|flag| flag.strip_prefix(b"O")) {
        None => Ok(None),
        Some(digits) => number(digits).map(Some).ok_or(Malformed("a token is not one of ours")),
    }
}

fn required(token: Option<u64>) -> Result<u64, Malformed> {
    token.ok_or(Malformed("a reply has no token"))
}

fn number(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    // `parse` alone would take a sign.
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// An error line, for who reads it: printable, and not long.
fn text(line: &[u8]) -> Arc<str> {
    line[..line.len().min(TEXT)].escape_ascii().to_string().into()
}
