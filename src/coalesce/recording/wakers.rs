//! Who waits for a recording.

use std::{mem, task::Waker};

/// Wakers taken out under the lock, to be woken outside of it.
#[derive(Default)]
pub(super) struct Woken {
    pub(super) leader: Option<Waker>,
    pub(super) followers: Vec<Option<Waker>>,
    pub(super) to_head: Vec<Option<Waker>>,
}

impl Woken {
    pub(super) fn wake(self) {
        let waiting = self.followers.into_iter().chain(self.to_head).flatten();
        for waker in self.leader.into_iter().chain(waiting) {
            waker.wake();
        }
    }
}

/// Where a follower's waker is kept.
#[derive(Debug)]
pub(super) struct Seat {
    round: u64,
    index: usize,
}

/// The wakers of followers: register, leave and re-register in O(1), drained all at once.
#[derive(Default)]
pub(super) struct Wakers {
    /// Seats of an earlier round are gone.
    round: u64,
    seats: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Wakers {
    pub(super) fn register(&mut self, seat: &mut Option<Seat>, waker: &Waker) {
        if let Some(seat) = seat
            && seat.round == self.round
            && let Some(registered) = &mut self.seats[seat.index]
        {
            registered.clone_from(waker);
            return;
        }
        let index = match self.free.pop() {
            Some(index) => {
                self.seats[index] = Some(waker.clone());
                index
            }
            None => {
                self.seats.push(Some(waker.clone()));
                self.seats.len() - 1
            }
        };
        *seat = Some(Seat { round: self.round, index });
    }

    #[allow(clippy::needless_pass_by_value, reason = "a seat that was left is gone")]
    pub(super) fn leave(&mut self, seat: Seat) {
        if seat.round == self.round {
            self.seats[seat.index] = None;
            self.free.push(seat.index);
        }
    }

    pub(super) fn drain(&mut self) -> Vec<Option<Waker>> {
        self.round += 1;
        self.free.clear();
        mem::take(&mut self.seats)
    }
}
