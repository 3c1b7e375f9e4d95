//! What becomes of replies on their way to the client.

use std::sync::atomic::{AtomicBool, Ordering};

use fastrand::Rng;
use tokio::{net::TcpStream, sync::mpsc, time::sleep_until};

use super::{
    Fault, Setting, Shared,
    connection::{End, Pace, Part, hold, shut_down, write_all},
};

pub struct Replies<'a> {
    shared: &'a Shared,
    client: &'a TcpStream,
    /// Of the connection.
    number: u64,
    half_closed: &'a AtomicBool,
    /// What was wrong at the last look,
    setting: Setting,
    /// and how many bytes have arrived since it is.
    passed: u64,
    rng: Rng,
    pace: Pace,
}

impl<'a> Replies<'a> {
    pub fn new(
        shared: &'a Shared,
        client: &'a TcpStream,
        number: u64,
        half_closed: &'a AtomicBool,
    ) -> Self {
        let setting = Setting::default();
        let (rng, pace) = (Rng::with_seed(0), Pace::new());
        let mut replies =
            Self { shared, client, number, half_closed, setting, passed: 0, rng, pace };
        replies.begin(*shared.setting.borrow());
        replies
    }

    fn begin(&mut self, setting: Setting) {
        (self.setting, self.passed) = (setting, 0);
        if let Fault::FlipBits { seed, .. } = setting.fault {
            self.rng = Rng::with_seed(seed ^ (self.number << 32));
        }
    }

    /// What is wrong now, once something may pass.
    async fn look(&mut self) -> Fault {
        loop {
            let setting = *self.shared.setting.borrow();
            if setting.number != self.setting.number {
                self.begin(setting);
            }
            match setting.fault {
                Fault::BlackHole => hold(self.shared).await,
                Fault::StallAfter(bytes) if self.passed >= bytes => {
                    self.shared.count(|counts| counts.stalled += 1);
                    self.shared.over(setting.fault).await;
                }
                fault => return fault,
            }
        }
    }

    pub async fn write(mut self, mut queue: mpsc::Receiver<Part>) -> Result<(), End> {
        while let Some(part) = queue.recv().await {
            sleep_until(part.due).await;
            self.look().await;
            let mut bytes = part.read.map_err(|_| End::Unreachable)?;
            if bytes.is_empty() {
                let _ = shut_down(self.client);
            }
            self.pace.start(self.shared);
            let mut left = &mut bytes[..];
            while !left.is_empty() {
                let fault = self.look().await;
                let rest = |bytes: u64| bytes.saturating_sub(self.passed);
                let most = match fault {
                    Fault::CutAfter(bytes) | Fault::ResetAfter(bytes) => rest(bytes),
                    Fault::StallAfter(bytes) => rest(bytes),
                    _ => u64::MAX,
                };
                let most = usize::try_from(most).unwrap_or(usize::MAX).min(left.len());
                let length = self.pace.wait(fault, most).await;
                let piece;
                (piece, left) = left.split_at_mut(length);
                self.flip(fault, piece);
                self.pass(piece).await?;
                match fault {
                    Fault::CutAfter(bytes) if self.passed >= bytes => return Err(End::Cut),
                    Fault::ResetAfter(bytes) if self.passed >= bytes => return Err(End::Reset),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn flip(&mut self, fault: Fault, piece: &mut [u8]) {
        let mut flipped = 0;
        match fault {
            Fault::FlipBit { byte, bit } => {
                let at = byte.checked_sub(self.passed).and_then(|at| usize::try_from(at).ok());
                if let Some(byte) = at.and_then(|at| piece.get_mut(at)) {
                    *byte ^= 1 << bit;
                    flipped += 1;
                }
            }
            Fault::FlipBits { share, .. } => {
                for byte in piece {
                    if self.rng.f64() < share {
                        *byte ^= 1 << self.rng.u8(..8);
                        flipped += 1;
                    }
                }
            }
            _ => {}
        }
        self.shared.count(|counts| counts.flipped += flipped);
    }

    async fn pass(&mut self, piece: &[u8]) -> Result<(), End> {
        if self.half_closed.load(Ordering::SeqCst) {
            return Ok(());
        }
        let written = write_all(self.client, piece).await;
        // Half-closed in the middle of it, perhaps.
        if written.is_err() && !self.half_closed.load(Ordering::SeqCst) {
            return Err(End::Done);
        }
        self.passed += piece.len() as u64;
        self.shared.count(|counts| counts.replies += piece.len() as u64);
        Ok(())
    }
}
