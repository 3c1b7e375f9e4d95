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

    pub(super) fn optional(&mut self, value: Option<u64>) {
        self.u8(u8::from(value.is_some()));
        self.u64(value.unwrap_or_default());
    }

    /// Bytes after their number, which is below 2^32.
    pub(super) fn run(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.raw(&length.to_be_bytes());
        self.raw(&bytes[..length as usize]);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// What is left to be read. Nothing that it hands out is longer than that.
#[derive(Clone, Debug)]
pub(super) struct Reader(pub(super) Bytes);

impl Reader {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let array = *self.0.first_chunk::<N>().ok_or(Damaged)?;
        let _ = self.0.split_to(N);
        Ok(array)
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

    pub(super) fn optional(&mut self) -> Result<Option<u64>, Damaged> {
        let there = self.u8()?;
        let value = self.u64()?;
        match there {
            0 => Ok(None),
            1 => Ok(Some(value)),
            _ => Err(Damaged),
        }
    }

    /// Shares what it was made of.
    pub(super) fn run(&mut self) -> Result<Bytes, Damaged> {
        let length = self.array().map(u32::from_be_bytes)? as usize;
        if length > self.0.len() {
            return Err(Damaged);
        }
        Ok(self.0.split_to(length))
    }

    /// How many of something follow, each of which takes so many bytes at least.
    pub(super) fn count(&mut self, each: usize) -> Result<usize, Damaged> {
        let count = usize::from(self.u16()?);
        if count * each > self.0.len() { Err(Damaged) } else { Ok(count) }
    }
}
