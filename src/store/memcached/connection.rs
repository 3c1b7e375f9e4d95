//! One connection: commands out, replies in, paired in their order.

use std::{
    collections::VecDeque, future::Future, future::poll_fn, pin::pin, sync::Arc, task::Poll,
};

use bytes::Buf;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    command::{Answer, Command, What},
    failure::{Failure, Why},
    outbox::Outbox,
    replies::{Malformed, Replies, Reply},
    servers::Settings,
};
use crate::store::Declined;

/// Commands that wait for their replies; those beyond it wait to be sent.
const IN_FLIGHT: usize = 1024;
/// While so many bytes wait to be sent, no more are added.
const UNSENT: usize = 256 * 1024;
/// So many commands are taken at a time.
const BATCH: usize = 128;
/// What a value may have beside the largest that we would send: another process may allow more.
const SLACK: usize = 64 * 1024;
/// How long a server that has no memory left is not written to.
const FULL_FOR: std::time::Duration = std::time::Duration::from_secs(30);

/// A connection and what is under way on it.
///
/// Replies come in the order of the commands. Each command carries a token that its reply repeats:
/// where it does not, nothing on this connection is believed any more. A command whose caller has left
/// stays in line, so that its reply is read, and then dropped.
pub(super) struct Connection<R, W> {
    server: Arc<str>,
    settings: Settings,
    read: R,
    write: W,
    outbox: Outbox,
    replies: Replies,
    waiting: VecDeque<Waiting>,
    next_token: u64,
    /// When the last byte came, or the first command since nobody waited.
    heard: Instant,
    has_answered: bool,
}

/// A command that was sent, or is about to be.
struct Waiting {
    kind: Kind,
    token: u64,
    reply: oneshot::Sender<Answer>,
}

#[derive(Clone, Copy)]
enum Kind {
    Get,
    Set,
    Delete,
    Ping,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Connection<R, W> {
    /// Over a new stream. Tokens go on where the last connection's ended.
    pub(super) fn new(
        server: &Arc<str>,
        settings: Settings,
        (read, write): (R, W),
        next_token: u64,
    ) -> Self {
        Self {
            server: Arc::clone(server),
            settings,
            read,
            write,
            outbox: Outbox::default(),
            replies: Replies::new(settings.item_limit.saturating_add(SLACK)),
            waiting: VecDeque::new(),
            next_token,
            heard: Instant::now(),
            has_answered: false,
        }
    }

    /// Waits for the answer to a first ping: a frozen server's kernel accepts connections, too.
    pub(super) async fn greet(&mut self) -> Result<(), Why> {
        self.outbox.push(&What::Ping, 0);
        self.write.write_all_buf(&mut self.outbox).await.map_err(broken)?;
        loop {
            match self.replies.next()? {
                Some(Reply::Noop) => return Ok(()),
                Some(Reply::ServerError(text) | Reply::Misunderstood(text)) => {
                    return Err(Why::Answered(text));
                }
                Some(_) => return Err(Why::Malformed("a reply to nothing")),
                None => match self.read.read_buf(&mut self.replies.space()).await {
                    Ok(0) => return Err(Why::Closed),
                    Ok(_) => {}
                    Err(error) => return Err(broken(error)),
                },
            }
        }
    }

    /// Serves `commands` until the connection fails; `Ok` once nobody can send any more.
    pub(super) async fn serve(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
    ) -> Result<(), Why> {
        let mut batch = Vec::with_capacity(BATCH);
        let mut alarm = pin!(sleep_until(self.heard + self.settings.silence));
        // Everything that can go on goes on: a server that must get rid of replies before it reads on
        // would otherwise wait for us, and we for it.
        poll_fn(|cx| {
            loop {
                let mut idle = true;
                if self.has_room() {
                    match commands.poll_recv_many(cx, &mut batch, BATCH) {
                        Poll::Ready(0) => return Poll::Ready(Ok(())),
                        Poll::Ready(_) => {
                            batch.drain(..).for_each(|command| self.send(command));
                            idle = false;
                        }
                        Poll::Pending => {}
                    }
                }
                if self.outbox.has_remaining() {
                    match pin!(self.write.write_buf(&mut self.outbox)).poll(cx) {
                        Poll::Ready(Ok(0)) => return Poll::Ready(Err(Why::Closed)),
                        Poll::Ready(Ok(_)) => idle = false,
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(broken(error))),
                        Poll::Pending => {}
                    }
                }
                match pin!(self.read.read_buf(&mut self.replies.space())).poll(cx) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(Why::Closed)),
                    Poll::Ready(Ok(_)) => {
                        self.heard = Instant::now();
                        self.pair()?;
                        idle = false;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(broken(error))),
                    Poll::Pending => {}
                }
                if !idle {
                    continue;
                }
                if self.waiting.is_empty() || alarm.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                // The alarm is not moved at every byte: it goes off, and may find that it need not have.
                let due = self.heard + self.settings.silence;
                if due <= Instant::now() {
                    return Poll::Ready(Err(Why::Silent(self.settings.silence)));
                }
                alarm.as_mut().reset(due);
            }
        })
        .await
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < IN_FLIGHT && self.outbox.remaining() < UNSENT
    }

    /// Puts a command in line.
    fn send(&mut self, command: Command) {
        if command.is_moot() {
            return;
        }
        let token = self.next_token;
        self.next_token += 1;
        if self.waiting.is_empty() {
            self.heard = Instant::now();
        }
        self.outbox.push(&command.what, token);
        let kind = match command.what {
            What::Get(_) => Kind::Get,
            What::Set { .. } => Kind::Set,
            What::Delete(_) => Kind::Delete,
            What::Ping => Kind::Ping,
        };
        self.waiting.push_back(Waiting { kind, token, reply: command.reply });
    }

    /// Gives all replies that are here to those who wait for them.
    fn pair(&mut self) -> Result<(), Why> {
        while let Some(reply) = self.replies.next()? {
            let Some(first) = self.waiting.front() else {
                return Err(match reply {
                    Reply::ServerError(text) | Reply::Misunderstood(text) => Why::Answered(text),
                    _ => Why::Malformed("a reply to nothing"),
                });
            };
            let answer = self.answer(first.kind, first.token, reply)?;
            self.has_answered |= answer.is_ok();
            if let Some(first) = self.waiting.pop_front() {
                // Whoever has left does not want it.
                let _ = first.reply.send(answer);
            }
        }
        Ok(())
    }

    /// What this reply says to a command of this kind; an error where it cannot be the reply to it.
    fn answer(&self, kind: Kind, token: u64, reply: Reply) -> Result<Answer, Why> {
        let (repeated, held) = match (kind, reply) {
            (Kind::Get, Reply::Value(repeated, value)) => (Some(repeated), Some(value)),
            (Kind::Get, Reply::Nothing(repeated)) => (repeated, None),
            (Kind::Set | Kind::Delete, Reply::Done(repeated)) => (Some(repeated), None),
            (Kind::Delete, Reply::NotFound(repeated)) => (Some(repeated), None),
            (Kind::Ping, Reply::Noop) => (None, None),
            (kind, Reply::ServerError(text)) => return Ok(Err(self.error(kind, text))),
            // It may take the rest of what we sent for commands, as it does after a value of another
            // length than it was told.
            (_, Reply::Misunderstood(text)) => return Err(Why::Answered(text)),
            _ => return Err(Why::Malformed("a reply to another command")),
        };
        match repeated {
            Some(repeated) if repeated != token => {
                Err(Why::Malformed("a reply with another command's token"))
            }
            _ => Ok(Ok(held)),
        }
    }

    /// The error for a `SERVER_ERROR`, which says whether the server is in trouble or the value is.
    fn error(&self, kind: Kind, text: Arc<str>) -> crate::error::BoxError {
        let out_of_memory = text.starts_with("SERVER_ERROR out of memory");
        let too_large = text.starts_with("SERVER_ERROR object too large");
        let failure = Failure::new(&self.server, Why::Answered(text));
        match kind {
            Kind::Set if out_of_memory => Declined::new(failure).no_writes_for(FULL_FOR).into(),
            Kind::Set if too_large => Declined::new(failure).into(),
            _ => failure.into(),
        }
    }
}

impl<R, W> Connection<R, W> {
    /// Whether it has ever answered a command.
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// The token that the next command would have had.
    ///
    /// Every call that waits fails with `failure`.
    pub(super) fn end(self, failure: &Failure) -> u64 {
        for waiting in self.waiting {
            let _ = waiting.reply.send(Err(failure.clone().into()));
        }
        self.next_token
    }
}

pub(super) fn broken(error: std::io::Error) -> Why {
    Why::Broken(Arc::new(error))
}

impl From<Malformed> for Why {
    fn from(Malformed(what): Malformed) -> Self {
        Self::Malformed(what)
    }
}
