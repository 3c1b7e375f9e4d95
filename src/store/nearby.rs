//! What is near of a remote store: memory, or nothing.

use super::{Figures, Key, Memory, Record, Store};
use crate::error::BoxError;

#[derive(Debug)]
pub(crate) enum Nearby {
    Memory(Memory),
    Nothing,
}

impl Store for Nearby {
    fn peek(&self, key: &[u8]) -> Option<Record> {
        match self {
            Self::Memory(memory) => memory.peek(key),
            Self::Nothing => None,
        }
    }

    fn is_remote(&self) -> bool {
        false
    }

    async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
        Ok(self.peek(key.as_bytes()))
    }

    async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        match self {
            Self::Memory(memory) => memory.put(key, record).await,
            Self::Nothing => Ok(()),
        }
    }

    async fn remove(&self, key: &Key) -> Result<(), BoxError> {
        match self {
            Self::Memory(memory) => memory.remove(key).await,
            Self::Nothing => Ok(()),
        }
    }

    fn figures(&self) -> Figures {
        match self {
            Self::Memory(memory) => Store::figures(memory),
            Self::Nothing => Figures::default(),
        }
    }
}
