//! Bytes that are no record.

use std::{error::Error, fmt};

/// Why the bytes that came back from a store are of no use; they count as a miss.
///
/// ```
/// # #[cfg(feature = "remote")] {
/// use bytes::Bytes;
/// use seawall::store::{Key, Record, Unreadable};
///
/// let read = Record::from_bytes(&Key::from(&b"key"[..]), Bytes::from_static(b"swl\x07........"));
/// assert_eq!(read.unwrap_err(), Unreadable::Version(7));
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreadable {
    /// They were not written by this crate.
    NotARecord,
    /// They are in a layout of this version, which this version of the crate does not know.
    Version(u8),
    /// They are not what was written: cut short, or changed.
    Damaged,
    /// They are of another key.
    OtherKey,
    /// They are from a clock that is ahead of this machine's by more than 5 s: how old they are is
    /// not known.
    FromTheFuture,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARecord => f.write_str("not a record"),
            Self::Version(version) => write!(f, "a record in the unknown layout {version}"),
            Self::Damaged => f.write_str("a damaged record"),
            Self::OtherKey => f.write_str("the record of another key"),
            Self::FromTheFuture => f.write_str("a record from the future"),
        }
    }
}

impl Error for Unreadable {}

impl Unreadable {
    /// The one in the source chain of `error`.
    pub(crate) fn find<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Self> {
        std::iter::successors(Some(error), |error| (*error).source())
            .find_map(|error| error.downcast_ref())
    }
}
