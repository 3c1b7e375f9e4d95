//! Interim responses (1xx) on their way to the client that they are for.
//!
//! hyper's client tells of them, its server has no word for them: so they are written beside it, to
//! the connection that hyper writes to, and only where they cannot fall into anything else. A head
//! is taken only for the request whose answer the connection waits for, goes out only when hyper has
//! nothing else to write, and then before hyper's next byte. What cannot be written in time, or
//! would be too much, is dropped: nobody relies on interim responses, and no client that reads
//! slowly may hold up an origin.
//!
//! Only HTTP/1.1 clients get any. RFC 9110 §15.2 forbids them to HTTP/1.0, and in HTTP/2 they are
//! frames that only hyper could send. Nor does hyper tell of those of an HTTP/2 origin.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode, Version, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy;

/// What may wait for a client that does not read, in bytes.
const MAX_DUE: usize = 16 << 10;

/// The longest head that is passed on, in bytes.
const MAX_HEAD: usize = 8 << 10;

/// A client's connection, and what interim responses get into it by.
pub(crate) fn into<IO>(io: IO) -> (Wire<IO>, Interim) {
    let interim = Interim(Arc::default());
    (Wire { io, due: interim.clone() }, interim)
}

/// The way into one connection.
#[derive(Clone)]
pub(crate) struct Interim(Arc<Mutex<Due>>);

#[derive(Default)]
struct Due {
    /// Whole heads, but for what is written of the first.
    bytes: BytesMut,
    /// How many of the bytes go before hyper's next one. The others came while hyper had something
    /// to write, perhaps of the answer before: they wait until it has not.
    sure: usize,
    /// There while hyper has nothing to write, to have it look again.
    idle: Option<Waker>,
    /// How many turns there have been, and whether the last one lasts.
    turn: u64,
    lasts: bool,
}

/// The time in which a request may have interim responses. It ends when this is dropped, which must
/// be before hyper sees the final head, and before it reads the next request.
#[must_use]
pub(crate) struct Turn {
    interim: Interim,
    number: u64,
}

impl Interim {
    /// Has whoever sends `request` on pass back what interim responses come before its answer.
    pub(crate) fn turn<B>(&self, request: &mut Request<B>) -> Option<Turn> {
        if request.version() != Version::HTTP_11 {
            return None;
        }
        let turn = self.begin();
        let (interim, number) = (self.clone(), turn.number);
        hyper::ext::on_informational(request, move |told| {
            if let Some(head) = head(told.status(), told.version(), told.headers().clone()) {
                interim.pass(number, &head);
            }
        });
        Some(turn)
    }

    fn begin(&self) -> Turn {
        let mut due = self.lock();
        due.turn += 1;
        due.lasts = true;
        due.idle = None;
        Turn { interim: self.clone(), number: due.turn }
    }

    fn pass(&self, turn: u64, head: &[u8]) {
        let mut due = self.lock();
        if !due.lasts || due.turn != turn || due.bytes.len() + head.len() > MAX_DUE {
            return;
        }
        due.bytes.extend_from_slice(head);
        if let Some(hyper) = due.idle.clone() {
            due.sure = due.bytes.len();
            drop(due);
            hyper.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Due> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut due = self.interim.lock();
        if due.turn == self.number {
            due.lasts = false;
            due.idle = None;
            let sure = due.sure;
            due.bytes.truncate(sure);
        }
    }
}

/// The head as it is written; `None` of what is not passed on. 100 is the answer to `Expect`, which
/// hyper gives by itself, and 101 would make another protocol of the connection.
fn head(status: StatusCode, version: Version, headers: HeaderMap) -> Option<Vec<u8>> {
    if !status.is_informational() || matches!(status.as_u16(), 100 | 101) {
        return None;
    }
    let mut response = Response::new(());
    (*response.version_mut(), *response.headers_mut()) = (version, headers);
    let (mut parts, ()) = response.into_parts();
    proxy::answered(&mut parts, None);
    // RFC 9112 §6.1, RFC 9110 §8.6: neither is allowed here, and neither would be believed alike.
    parts.headers.remove(header::TRANSFER_ENCODING);
    parts.headers.remove(header::CONTENT_LENGTH);

    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
    for (name, value) in &parts.headers {
        if value.as_bytes().iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return None;
        }
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    (head.len() <= MAX_HEAD).then_some(head)
}

/// A connection that writes what is due before what hyper writes.
pub(crate) struct Wire<IO> {
    io: IO,
    due: Interim,
}

impl<IO: AsyncWrite + Unpin> Wire<IO> {
    /// Ready once nothing has to go before what hyper writes, if it does.
    fn poll_due(&mut self, cx: &mut Context<'_>, idle: bool) -> Poll<io::Result<()>> {
        let mut due = self.due.lock();
        due.idle = (idle && due.lasts).then(|| cx.waker().clone());
        if idle {
            due.sure = due.bytes.len();
        }
        while due.sure > 0 {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &due.bytes[..due.sure]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            due.bytes.advance(written);
            due.sure -= written;
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Wire<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_due(cx, false))?;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_due(cx, false))?;
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// hyper flushes once it has written all it has, and each time it is woken with nothing to write.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_due(cx, true))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Wire<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

#[cfg(test)]
#[path = "interim_tests.rs"]
mod tests;
