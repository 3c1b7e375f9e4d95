//! What a remote store is made of: a server that keeps bytes under short keys.

use std::{fmt, future::Future, time::Duration};

use bytes::Bytes;

use crate::error::BoxError;

/// Redis, Memcached, or several of them: how bytes get there and back.
///
/// An operation fails at once where there is no connection: connecting is nobody's call, but a task's.
/// None of them is tried again, and none has a deadline: who calls has both. What the server itself
/// declines, although it is well, fails with a [`Declined`](super::Declined) in the error's source chain.
///
/// # Cancellation
/// Every future may be dropped at any time: an operation may then have happened or not, and no later one
/// may be harmed by it.
pub(crate) trait Server: Send + Sync + 'static {
    /// The bytes under `key`.
    fn get(&self, key: &WireKey) -> impl Future<Output = Result<Option<Bytes>, BoxError>> + Send;

    /// Keeps `value` under `key` for `ttl`, in place of what was there.
    fn set(
        &self,
        key: &WireKey,
        value: Bytes,
        ttl: Duration,
    ) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Forgets `key`.
    fn delete(&self, key: &WireKey) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Whether it answers.
    fn ping(&self) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// The key of a record as a server sees it: `prefix:hex`, 97 bytes at the most, none of which means
/// anything to a text protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct WireKey {
    bytes: [u8; Self::LONGEST],
    length: u8,
}

impl WireKey {
    const LONGEST_PREFIX: usize = 32;
    const LONGEST: usize = Self::LONGEST_PREFIX + 1 + 64;

    /// Whether this may be the prefix of keys: 1 to 32 of `A-Z a-z 0-9 _ . -`.
    pub(crate) fn is_prefix(prefix: &str) -> bool {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        (1..=Self::LONGEST_PREFIX).contains(&prefix.len()) && prefix.bytes().all(allowed)
    }

    /// The key with these 256 bits; `prefix` [is one](Self::is_prefix).
    pub(crate) fn new(prefix: &str, hash: &[u8; 32]) -> Self {
        debug_assert!(Self::is_prefix(prefix), "{prefix:?}");
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut key = Self { bytes: [0; Self::LONGEST], length: 0 };
        for byte in prefix.bytes().take(Self::LONGEST_PREFIX).chain([b':']) {
            key.push(byte);
        }
        for byte in hash {
            key.push(HEX[usize::from(byte >> 4)]);
            key.push(HEX[usize::from(byte & 15)]);
        }
        key
    }

    fn push(&mut self, byte: u8) {
        self.bytes[usize::from(self.length)] = byte;
        self.length += 1;
    }

    /// Its bytes: printable ASCII, no space.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Debug for WireKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WireKey({})", self.as_bytes().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wire_key_is_its_prefix_and_the_hash_in_hex() {
        let mut hash = [0; 32];
        (hash[0], hash[31]) = (0xab, 0x01);
        let key = WireKey::new("shop", &hash);
        let expected = format!("shop:ab{}01", "00".repeat(30));
        assert_eq!(key.as_bytes(), expected.as_bytes());
        let longest = WireKey::new(&"x".repeat(32), &hash);
        assert_eq!(longest.as_bytes().len(), 97);
    }

    #[test]
    fn a_prefix_means_nothing_to_a_text_protocol() {
        for good in ["a", "shop-1", "A_b.c", &"x".repeat(32)] {
            assert!(WireKey::is_prefix(good), "{good}");
        }
        for bad in ["", "a b", "a\r\n", "a:b", "{a}", "ä", "a\0", &"x".repeat(33)] {
            assert!(!WireKey::is_prefix(bad), "{bad:?}");
        }
    }
}
