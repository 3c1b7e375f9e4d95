//! Reading and writing numbers and runs of bytes, each with its length. Pure.

use bytes::Bytes;

/// What is there ends too early, or is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged;

/// What is being written.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn u128(&mut self, value: u128) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn flag(&mut self, value: bool) {
        self.u8(value.into());
    }

    /// Whether it is there, and it, if it is.
    pub(super) fn optional(&mut self, value: Option<u64>) {
        self.flag(value.is_some());
        if let Some(value) = value {
            self.u64(value);
        }
    }

    /// How many of something follow; `None`: more than `most`.
    pub(super) fn count(&mut self, count: usize, most: usize) -> Option<()> {
        self.u16(u16::try_from(count).ok().filter(|_| count <= most)?);
        Some(())
    }

    /// Bytes after their number; `None`: 4 GiB or more.
    pub(super) fn run(&mut self, bytes: &[u8]) -> Option<()> {
        self.raw(&u32::try_from(bytes.len()).ok()?.to_be_bytes());
        self.raw(bytes);
        Some(())
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// What is left to be read. Nothing that it hands out is longer than that.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    /// What it is a part of.
    whole: &'a Bytes,
    /// Whether what it hands out to be kept is a part of that as well.
    shares: bool,
}

impl<'a> Reader<'a> {
    /// Of all but the first `skipped` bytes of `whole`.
    pub(super) fn new(whole: &'a Bytes, skipped: usize) -> Self {
        Self { rest: whole.get(skipped..).unwrap_or_default(), whole, shares: true }
    }

    /// From now on, what is handed out to be kept is a copy.
    pub(super) fn copy(&mut self) {
        self.shares = false;
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(Damaged)?;
        self.rest = rest;
        Ok(*array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Damaged> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Damaged> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Damaged> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn u128(&mut self) -> Result<u128, Damaged> {
        self.array().map(u128::from_be_bytes)
    }

    pub(super) fn flag(&mut self) -> Result<bool, Damaged> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Damaged),
        }
    }

    pub(super) fn optional(&mut self) -> Result<Option<u64>, Damaged> {
        if self.flag()? { self.u64().map(Some) } else { Ok(None) }
    }

    pub(super) fn run(&mut self) -> Result<&'a [u8], Damaged> {
        let length = self.array().map(u32::from_be_bytes)? as usize;
        let (run, rest) = self.rest.split_at_checked(length).ok_or(Damaged)?;
        self.rest = rest;
        Ok(run)
    }

    /// A run that is kept.
    pub(super) fn kept(&mut self) -> Result<Bytes, Damaged> {
        let run = self.run()?;
        Ok(if self.shares { self.whole.slice_ref(run) } else { Bytes::copy_from_slice(run) })
    }

    /// How many of something follow, at most `most`, each of which takes so many bytes at least.
    pub(super) fn count(&mut self, each: usize, most: usize) -> Result<usize, Damaged> {
        let count = usize::from(self.u16()?);
        let fits = count <= most && count.saturating_mul(each) <= self.rest.len();
        if fits { Ok(count) } else { Err(Damaged) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_beyond_it() {
        let mut out = Writer::default();
        out.u16(7);
        out.optional(None);
        out.optional(Some(u64::MAX));
        assert_eq!(out.run(b"run"), Some(()));
        assert_eq!(out.count(3, 3), Some(()));
        assert_eq!(out.count(4, 3), None);
        let bytes = Bytes::from(out.0);
        let mut from = Reader::new(&bytes, 0);
        assert_eq!(from.u16(), Ok(7));
        assert_eq!(from.optional(), Ok(None));
        assert_eq!(from.optional(), Ok(Some(u64::MAX)));
        assert_eq!(from.run(), Ok(&b"run"[..]));
        assert_eq!(from.clone().count(0, 3), Ok(3));
        assert_eq!(from.clone().count(0, 2), Err(Damaged), "too many");
        assert_eq!(from.clone().count(1, 3), Err(Damaged), "none of them is there");
        assert_eq!(from.u16(), Ok(3));
        assert!(from.is_at_end());
        assert_eq!(from.u8(), Err(Damaged));
        assert!(Reader::new(&bytes, bytes.len() + 1).is_at_end());
    }

    #[test]
    fn a_run_that_says_to_be_longer_than_what_is_left_is_damaged() {
        for said in [4_u32, 5, u32::MAX] {
            let bytes = Bytes::from([&said.to_be_bytes()[..], b"run"].concat());
            assert_eq!(Reader::new(&bytes, 0).run(), Err(Damaged), "{said}");
            assert_eq!(Reader::new(&bytes, 0).kept(), Err(Damaged), "{said}");
        }
    }

    #[test]
    fn what_is_kept_shares_what_it_was_read_from_unless_it_is_to_be_a_copy() {
        let bytes = Bytes::from([&3_u32.to_be_bytes()[..], b"run"].concat());
        let mut from = Reader::new(&bytes, 0);
        assert_eq!(from.clone().kept().expect("a run").as_ptr(), bytes[4..].as_ptr());
        from.copy();
        let copy = from.kept().expect("a run");
        assert_ne!(copy.as_ptr(), bytes[4..].as_ptr());
        assert_eq!(copy, "run");
    }

    #[test]
    fn a_flag_is_one_of_two_bytes() {
        for (byte, flag) in [(0, Ok(false)), (1, Ok(true)), (2, Err(Damaged)), (255, Err(Damaged))]
        {
            assert_eq!(Reader::new(&Bytes::from(vec![byte]), 0).flag(), flag, "{byte}");
        }
    }
}
