//! The message of a request that belongs to its key: read before the request goes anywhere, and sent
//! with it all the same.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::time::timeout;

use crate::{coalesce::budget::Budget, error::BoxError, grpc};

/// How long a message may take. One that takes longer is no unary call that anyone else waits for,
/// or no unary call at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// The body of a request that was read to find its key: first what was read, then the rest, if there
/// is any.
///
/// A [`GrpcKey`](crate::GrpcKey) is given one, and makes of it a body of the service's own type.
///
/// ```
/// use axum::body::Body;
/// use seawall::{GrpcKey, cache::Message};
///
/// let key = GrpcKey::new(|message: Message<Body>| Body::new(message));
/// # let _ = key;
/// ```
///
/// # Errors
/// Those of the original body.
pub struct Message<B> {
    read: Bytes,
    /// What came after it, and was too much.
    next: Option<Result<Frame<Bytes>, BoxError>>,
    rest: Option<Pin<Box<B>>>,
}

/// Polls a body whose type is not known to have frames.
pub(super) type PollFrame<B> =
    fn(Pin<&mut B>, &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>;

impl<B> Message<B> {
    /// Reads `body`; also returns the message, where that is all there is: one message of at most
    /// `most` bytes with its prefix, and the end.
    ///
    /// # Cancellation
    /// What was read is lost with the body: nobody else has heard of it.
    pub(super) async fn read(
        body: B,
        poll_frame: PollFrame<B>,
        most: usize,
        budget: &Budget,
    ) -> (Self, Option<Bytes>) {
        let held = Held { budget, bytes: 0 };
        let read = BytesMut::new();
        let mut reading =
            Reading { body: Box::pin(body), poll_frame, most, read, next: None, held };
        let found = timeout(PATIENCE, reading.run()).await.unwrap_or(Found::More);
        let Reading { body, read, next, .. } = reading;
        let read = read.freeze();
        // Nothing follows an error.
        let ended = found != Found::More || matches!(next, Some(Err(_)));
        let rest = (!ended).then_some(body);
        let message = (found == Found::Message).then(|| read.clone());
        (Self { read, next, rest }, message)
    }
}

/// What a body turned out to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// One message and no more.
    Message,
    /// Less than that.
    Less,
    /// More than that, or something else; it is not read to its end.
    More,
}

struct Reading<'b, B> {
    body: Pin<Box<B>>,
    poll_frame: PollFrame<B>,
    most: usize,
    read: BytesMut,
    next: Option<Result<Frame<Bytes>, BoxError>>,
    held: Held<'b>,
}

impl<B> Reading<'_, B> {
    async fn run(&mut self) -> Found {
        loop {
            let length = match self.read.first_chunk().map(|prefix| grpc::length(*prefix)) {
                None => None,
                Some(Some(length))
                    if length <= self.most as u64 && self.read.len() as u64 <= length =>
                {
                    Some(length)
                }
                Some(_) => return Found::More,
            };
            let frame = match poll_fn(|cx| (self.poll_frame)(self.body.as_mut(), cx)).await {
                None if length == Some(self.read.len() as u64) => return Found::Message,
                None => return Found::Less,
                Some(frame) => frame,
            };
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => {
                    let room = length.unwrap_or(self.most as u64) - self.read.len() as u64;
                    if data.len() as u64 > room || !self.held.take(data.len()) {
                        self.next = Some(Ok(Frame::data(data)));
                        return Found::More;
                    }
                    self.read.extend_from_slice(&data);
                }
                Ok(Err(trailers)) => {
                    self.next = Some(Ok(trailers));
                    return Found::More;
                }
                Err(error) => {
                    self.next = Some(Err(error));
                    return Found::More;
                }
            }
        }
    }
}

/// What a message holds of a budget while it is read.
struct Held<'b> {
    budget: &'b Budget,
    bytes: usize,
}

impl Held<'_> {
    fn take(&mut self, bytes: usize) -> bool {
        let room = self.budget.take(bytes);
        if room {
            self.bytes += bytes;
        }
        room
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

impl<B> Body for Message<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !self.read.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.read)))));
        }
        if let Some(next) = self.next.take() {
            return Poll::Ready(Some(next));
        }
        match &mut self.rest {
            Some(rest) => rest.as_mut().poll_frame(cx).map_err(Into::into),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        let rest = self.rest.as_ref();
        self.read.is_empty() && self.next.is_none() && rest.is_none_or(|rest| rest.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let next = match &self.next {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            _ => 0,
        };
        let read = (self.read.len() + next) as u64;
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), |b| b.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(read)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl<B> fmt::Debug for Message<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("read", &self.read.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    type Whole = Full<Bytes>;

    async fn read(body: &'static [u8], most: usize) -> (Message<Whole>, Option<Bytes>) {
        let body = Whole::from(body);
        let budget = Budget::new(1_000);
        let poll_frame = |body: Pin<&mut Whole>, cx: &mut Context<'_>| {
            Whole::poll_frame(body, cx).map_err(Into::into)
        };
        let read = Message::read(body, poll_frame, most, &budget).await;
        assert_eq!(budget.used(), 0);
        read
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_knows_its_length_and_its_end() {
        let shoe = b"\0\0\0\0\x04shoe";
        for (most, is_message) in [(9, true), (8, false), (5, false), (4, false), (0, false)] {
            let (message, found) = read(shoe, most).await;
            assert_eq!(found.is_some(), is_message, "{most}");
            assert!(!message.is_end_stream());
            assert_eq!(message.size_hint().exact(), Some(9), "{most}");
            assert_eq!(message.collect().await.expect("whole").to_bytes(), &shoe[..]);
        }
        let (message, found) = read(b"", 100).await;
        assert!(message.is_end_stream() && found.is_none());
        assert_eq!(message.size_hint().exact(), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_length_that_no_memory_has_takes_none() {
        let (message, found) = read(b"\0\xff\xff\xff\xff and little more", usize::MAX).await;
        assert_eq!((found, message.read.len()), (None, 21));
        let (message, found) = read(b"\0\xff\xff\xff\xff and little more", 8192).await;
        assert_eq!((found, message.size_hint().exact()), (None, Some(21)));
    }
}
