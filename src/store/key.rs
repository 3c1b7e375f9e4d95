//! What identifies an answer: a sequence of parts, encoded so that no two sequences meet.

use std::{borrow::Borrow, fmt, sync::Arc};

/// More key material than this is not a key: the request passes.
pub(crate) const MAX_KEY: usize = 8 * 1024;
const INLINE: usize = 256;

/// The full key of an entry, kept in it and compared on every hit.
///
/// It is opaque bytes: equal keys mean equal parts, and nothing else does. Cloning it is cheap, and a
/// map by `Key` is asked with bytes alone, as in [`Store::peek`](super::Store::peek).
///
/// ```
/// use seawall::store::Key;
/// use std::collections::HashMap;
///
/// let map = HashMap::from([(Key::from(&b"one"[..]), 1)]);
/// assert_eq!(map.get(&b"one"[..]), Some(&1));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<[u8]>);

impl Key {
    /// The encoded parts.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Self(Arc::from(bytes))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0.escape_ascii())
    }
}

/// Writes the parts of a key, each with its length, so that `("a", "bc")` is not `("ab", "c")` and an
/// absent part is not an empty one.
///
/// Short keys are written without an allocation. Beyond 8 KiB there is no key.
///
/// ```
/// # use bytes::Bytes;
/// # use http::{HeaderValue, Request, Response, header::ACCEPT_LANGUAGE};
/// # use http_body_util::{BodyExt, Empty, Full};
/// # use seawall::{BoxError, CacheLayer, NoKey, store::{KeyWriter, Memory}};
/// # use tower::{Layer, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// # let origin = service_fn(|_: Request<Empty<Bytes>>| async {
/// #     Response::builder().header("cache-control", "max-age=60").body(Full::<Bytes>::from("once"))
/// # });
/// // Host, path and language; the query makes no difference to this origin.
/// let by = |request: &Request<Empty<Bytes>>, key: &mut KeyWriter| {
///     key.part_ignoring_case(request.uri().host().ok_or(NoKey)?.as_bytes());
///     key.part(request.uri().path().as_bytes());
///     key.optional(request.headers().get(ACCEPT_LANGUAGE).map(HeaderValue::as_bytes));
///     Ok::<_, NoKey>(())
/// };
/// let service = CacheLayer::new(Memory::default()).key(by).layer(origin);
/// # for (uri, said) in [
/// #     ("http://example.com/?a", "seawall; fwd=uri-miss; fwd-status=200; stored"),
/// #     ("http://EXAMPLE.com/?b", "seawall; hit"),
/// # ] {
/// #     let request = Request::get(uri).body(Empty::<Bytes>::new())?;
/// #     let response = service.clone().oneshot(request).await?;
/// #     assert_eq!(response.headers()["cache-status"], said);
/// #     response.into_body().collect().await?;
/// # }
/// # Ok(()) }
/// ```
pub struct KeyWriter {
    inline: [u8; INLINE],
    /// Of the inline bytes, how many are written; unused once `spilled` is not empty.
    written: usize,
    spilled: Vec<u8>,
    too_long: bool,
}

impl KeyWriter {
    /// A key without parts.
    pub fn new() -> Self {
        Self { inline: [0; INLINE], written: 0, spilled: Vec::new(), too_long: false }
    }

    /// Adds a part.
    pub fn part(&mut self, part: &[u8]) {
        // Lengths below 0xffff, which is what an absent part is written as.
        let Ok(length) = u16::try_from(part.len()) else {
            self.too_long = true;
            return;
        };
        let end = self.written + 2 + part.len();
        if self.spilled.is_empty()
            && let Some(free) = self.inline.get_mut(self.written..end)
        {
            let (prefix, rest) = free.split_at_mut(2);
            prefix.copy_from_slice(&length.to_be_bytes());
            rest.copy_from_slice(part);
            self.written = end;
        } else {
            self.raw(&length.to_be_bytes());
            self.raw(part);
        }
    }

    /// Adds a part that compares without regard to ASCII letter case.
    pub fn part_ignoring_case(&mut self, part: &[u8]) {
        self.part(part);
        // Few are written in capitals.
        if part.iter().any(u8::is_ascii_uppercase) && !self.too_long {
            let start = self.len() - part.len();
            self.bytes_mut()[start..].make_ascii_lowercase();
        }
    }

    /// Adds a part that is not there.
    pub fn absent(&mut self) {
        self.raw(&[0xff, 0xff]);
    }

    /// Adds a part that may not be there.
    pub fn optional(&mut self, part: Option<&[u8]>) {
        match part {
            Some(part) => self.part(part),
            None => self.absent(),
        }
    }

    /// What has been written: in a layer, first of all a byte of its own, then the parts.
    pub fn as_bytes(&self) -> &[u8] {
        if self.spilled.is_empty() { &self.inline[..self.written] } else { &self.spilled }
    }

    pub(crate) fn len(&self) -> usize {
        if self.spilled.is_empty() { self.written } else { self.spilled.len() }
    }

    /// Takes back what was written after `len` bytes of a key.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.too_long = false;
        if self.spilled.is_empty() {
            self.written = self.written.min(len);
        } else {
            self.spilled.truncate(len);
        }
    }

    /// `None` where the parts were too long for a key.
    pub(crate) fn key(&self) -> Option<Key> {
        (!self.too_long).then(|| Key::from(self.as_bytes()))
    }

    pub(crate) fn is_too_long(&self) -> bool {
        self.too_long
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        if self.spilled.is_empty() { &mut self.inline[..self.written] } else { &mut self.spilled }
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        if self.too_long || self.len() + bytes.len() > MAX_KEY {
            self.too_long = true;
        } else if !self.spilled.is_empty() {
            self.spilled.extend_from_slice(bytes);
        } else if let Some(free) = self.inline.get_mut(self.written..self.written + bytes.len()) {
            free.copy_from_slice(bytes);
            self.written += bytes.len();
        } else {
            self.spilled.reserve(2 * INLINE);
            self.spilled.extend_from_slice(&self.inline[..self.written]);
            self.spilled.extend_from_slice(bytes);
        }
    }
}

impl Default for KeyWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for KeyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyWriter({})", self.as_bytes().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[Option<&[u8]>]) -> Option<Key> {
        let mut writer = KeyWriter::new();
        for part in parts {
            writer.optional(*part);
        }
        writer.key()
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(key(&[Some(b"a"), Some(b"bc")]), key(&[Some(b"ab"), Some(b"c")]));
        assert_ne!(key(&[Some(b"")]), key(&[None]));
        assert_ne!(key(&[Some(b""), None]), key(&[None, Some(b"")]));
    }

    #[test]
    fn a_long_key_is_the_same_key_as_if_it_were_short_and_too_long_is_none() {
        let long = vec![b'x'; 3_000];
        let mut once = KeyWriter::new();
        once.part(b"head");
        once.part(&long);
        assert_eq!(once.key(), key(&[Some(b"head"), Some(&long)]));
        assert_eq!(once.len(), 2 + 4 + 2 + 3_000);
        assert_eq!(
            key(&[Some(&vec![b'x'; MAX_KEY - 2])]).map(|key| key.as_bytes().len()),
            Some(MAX_KEY)
        );
        assert_eq!(key(&[Some(&vec![b'x'; MAX_KEY - 1])]), None);
        assert_eq!(key(&[Some(&vec![b'x'; 70_000])]), None);
    }

    #[test]
    fn letter_case_is_ignored_where_it_is_said() {
        let mut writer = KeyWriter::new();
        writer.part_ignoring_case(b"EXAMPLE.com");
        assert_eq!(writer.key(), key(&[Some(b"example.com")]));
    }
}
