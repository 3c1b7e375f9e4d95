//! HTTP/2 frames (RFC 9113 §6), as far as an origin with one stream needs them.

use bytes::{BufMut, Bytes, BytesMut};
use tokio::{io::AsyncReadExt, net::TcpStream};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

pub const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

const STREAM: u32 = 1;

/// RFC 9113 §7.
pub const NO_ERROR: u32 = 0;
pub const INTERNAL_ERROR: u32 = 2;
pub const CANCEL: u32 = 8;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_uint(payload.len() as u64, 3);
    bytes.put_u8(kind);
    bytes.put_u8(flags);
    bytes.put_u32(stream);
    bytes.extend_from_slice(payload);
    bytes.freeze()
}

/// What a server begins with: its settings, and that it has seen the client's.
pub fn hello() -> Bytes {
    [frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, ACK, 0, &[])].concat().into()
}

/// Fields without any compression (RFC 7541 §6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            assert!(text.len() < 127, "a longer length has another form");
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// The head of a 200.
pub fn head(fields: &[(&str, &str)]) -> Bytes {
    // 8 in the static table of RFC 7541: ":status: 200".
    let mut payload = vec![0x88];
    payload.extend(block(fields));
    frame(HEADERS, END_HEADERS, STREAM, &payload)
}

pub fn data(flags: u8, data: impl AsRef<[u8]>) -> Bytes {
    frame(DATA, flags, STREAM, data.as_ref())
}

pub fn trailers(fields: &[(&str, &str)]) -> Bytes {
    frame(HEADERS, END_HEADERS | END_STREAM, STREAM, &block(fields))
}

pub fn reset(code: u32) -> Bytes {
    frame(RST_STREAM, 0, STREAM, &code.to_be_bytes())
}

/// No stream after `last` was or will be answered.
pub fn goaway(last: u32, code: u32) -> Bytes {
    let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
    frame(GOAWAY, 0, 0, &payload)
}

/// Reads the client's preface and frames, as far as the end of its first request.
pub async fn read_request(stream: &mut TcpStream) -> Option<()> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.ok()?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.ok()?;
        if matches!(head[3], DATA | HEADERS) && head[4] & END_STREAM != 0 {
            return Some(());
        }
    }
}
