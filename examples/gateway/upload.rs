//! A request's body on its way to the origin, watched so that a slow client is no slow origin.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use tokio::time::{Instant, sleep_until};

use crate::{
    BoxError,
    hop::{self, OneHop},
};

/// The body, reporting to a [`Progress`].
pub(crate) struct Upload {
    inner: UnsyncBoxBody<Bytes, BoxError>,
    one_hop: OneHop,
    progress: Progress,
}

/// How far a body has come.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Mutex<State>>);

#[derive(Clone, Copy)]
struct State {
    last: Instant,
    waits_for: Party,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    /// The next bytes are the client's to send.
    Client,
    /// All that came is the origin's to read, or to answer.
    Origin,
    /// The body broke off: there is nobody left to answer.
    Nobody,
}

impl Upload {
    pub(crate) fn new<B>(body: B, one_hop: OneHop) -> (Self, Progress)
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let state = State { last: Instant::now(), waits_for: Party::Origin };
        let progress = Progress(Arc::new(Mutex::new(state)));
        let inner = body.map_err(Into::into).boxed_unsync();
        (Self { inner, one_hop, progress: progress.clone() }, progress)
    }
}

impl Progress {
    /// Ends once neither side has moved for `idle`, with the side whose turn it was.
    pub(crate) async fn stalled(&self, idle: Duration) -> Party {
        loop {
            let State { last, waits_for } = *self.lock();
            if last.elapsed() >= idle {
                return waits_for;
            }
            sleep_until(last + idle).await;
        }
    }

    /// Whose turn it is now.
    pub(crate) fn waits_for(&self) -> Party {
        self.lock().waits_for
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut frame = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            hop::clean(trailers, &self.one_hop);
        }
        let mut state = self.progress.lock();
        match &frame {
            Poll::Pending => state.waits_for = Party::Client,
            Poll::Ready(Some(Err(_))) => state.waits_for = Party::Nobody,
            Poll::Ready(_) => {
                *state = State { last: Instant::now(), waits_for: Party::Origin };
            }
        }
        drop(state);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header::CONNECTION};
    use http_body_util::Full;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clock_runs_from_the_last_byte() {
        let (mut body, progress) = Upload::new(Full::from("some"), OneHop::default());
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(body.frame().await.is_some());
        let began = Instant::now();
        assert_eq!(progress.stalled(Duration::from_secs(10)).await, Party::Origin);
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_sending_is_told_from_an_origin_that_does_not_read() {
        let (mut body, progress) = Upload::new(Never, OneHop::default());
        let waiting = tokio::spawn(async move { body.frame().await.is_some() });
        assert_eq!(progress.stalled(Duration::from_secs(10)).await, Party::Client);
        waiting.abort();
    }

    #[tokio::test]
    async fn trailers_leave_behind_what_is_for_one_hop() {
        let mut head = HeaderMap::from_iter([(CONNECTION, HeaderValue::from_static("x-hop"))]);
        let one_hop = hop::drop_fields(&mut head, None);
        let mut trailers = HeaderMap::new();
        for name in ["x-sum", "x-hop", "connection", "x-forwarded-for", "authorization"] {
            trailers.insert(name, HeaderValue::from_static("1"));
        }
        let body = Full::from("some").with_trailers(async { Some(Ok(trailers)) });
        let (body, _) = Upload::new(body, one_hop);
        let left = body.collect().await.unwrap().trailers().cloned().unwrap();
        assert!(left.keys().eq(["x-sum"]), "{left:?}");
    }

    struct Never;

    impl Body for Never {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Pending
        }
    }
}
