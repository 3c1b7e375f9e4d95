//! What waits for its reply on one connection.

use std::sync::atomic::{AtomicU64, Ordering};

/// Commands sent, and commands answered, both in bytes.
///
/// A command whose caller left waits for its reply all the same. Since replies come in the order of
/// their commands, one reply answers for everything that was sent before.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    sent: AtomicU64,
    answered: AtomicU64,
}

/// Where a command stands in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Position(u64);

impl Backlog {
    /// 16,384 small commands.
    pub(super) const MOST: u64 = 64 << 20;
    /// What a command weighs beside its own bytes: its reply, and what is kept until that comes.
    pub(super) const COMMAND: u64 = 4 << 10;

    /// `None`: too much waits already. Whatever its size, a command is never too large by itself.
    pub(super) fn enter(&self, bytes: u64) -> Option<Position> {
        let answered = self.answered.load(Ordering::Relaxed);
        let weight = Self::COMMAND + bytes;
        self.sent
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sent| {
                // Another thread's reply may have come since.
                (sent.saturating_sub(answered) < Self::MOST).then_some(sent + weight)
            })
            .ok()
            .map(|before| Position(before + weight))
    }

    /// The same for a question whose answer tells that the others are answered.
    pub(super) fn enter_always(&self) -> Position {
        Position(self.sent.fetch_add(Self::COMMAND, Ordering::Relaxed) + Self::COMMAND)
    }

    /// The command at `position` is answered, and so are those before it.
    pub(super) fn leave(&self, position: Position) {
        self.answered.fetch_max(position.0, Ordering::Relaxed);
    }

    /// How far replies have come.
    pub(super) fn answered(&self) -> Position {
        Position(self.answered.load(Ordering::Relaxed))
    }

    #[cfg(all(test, not(seawall_loom)))]
    pub(super) fn waiting(&self) -> u64 {
        let answered = self.answered.load(Ordering::Relaxed);
        self.sent.load(Ordering::Relaxed).saturating_sub(answered)
    }
}
