//! Which keys of a cluster are whose.

use redis::Value;

use super::{
    address::Host,
    replies::{heard, text},
};
use crate::error::BoxError;

pub(super) const SLOTS: usize = 16_384;

/// The slot of a key: of what stands in its first `{}`, if anything does.
pub(super) fn slot(key: &[u8]) -> usize {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|&byte| byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    usize::from(crc16(tag.unwrap_or(key))) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| (crc << 8) ^ CRC16[usize::from((crc >> 8) ^ u16::from(byte))])
}

const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

/// These slots are this master's.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) slots: std::ops::RangeInclusive<usize>,
    pub(super) master: Host,
}

/// Reads the reply of `asked` to `CLUSTER SLOTS`.
pub(super) fn shares(reply: Value, asked: &Host) -> Result<Vec<Share>, BoxError> {
    let Value::Array(ranges) = heard(reply)? else { return Err(NOT_SLOTS.into()) };
    if ranges.is_empty() {
        return Err("the node knows no slots".into());
    }
    ranges.iter().map(|range| share(range, asked).ok_or_else(|| NOT_SLOTS.into())).collect()
}

const NOT_SLOTS: &str = "not the slots of a cluster";

fn share(range: &Value, asked: &Host) -> Option<Share> {
    let Value::Array(range) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &range[..] else {
        return None;
    };
    let (first, last) = (usize::try_from(*first).ok()?, usize::try_from(*last).ok()?);
    let [name, Value::Int(port), ..] = &master[..] else { return None };
    // A node that does not know its own name is called as it was reached.
    let name = text(name).filter(|name| !name.is_empty() && *name != "?").unwrap_or(&asked.name);
    let master = Host { name: name.to_owned(), port: u16::try_from(*port).ok()? };
    (first <= last && last < SLOTS).then_some(Share { slots: first..=last, master })
}

/// Where a `MOVED` or an `ASK` leads.
pub(super) fn redirected(details: Option<&str>) -> Option<Host> {
    let (_, host) = details?.split_once(' ')?;
    let (name, port) = host.rsplit_once(':')?;
    let name = name.trim_start_matches('[').trim_end_matches(']');
    Some(Host { name: name.to_owned(), port: port.parse().ok()? })
}
