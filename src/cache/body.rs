//! The body of every answer: stored, on its way, or the origin's own.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::sync::oneshot;

use crate::{
    coalesce::recording::{Read, Reader},
    error::{BoxError, FetchError},
    store::Head,
};

pin_project! {
    /// The body of an answer, where the origin's body is a `B`.
    ///
    /// A stored body is one frame, shared, never copied. A body on its way is read along with others
    /// while it is recorded. An answer that is not kept has the origin's own body, untouched.
    ///
    /// ```
    /// # use bytes::Bytes;
    /// # use http::{Request, Response};
    /// # use http_body_util::{BodyExt, Empty, Full};
    /// # use seawall::{BoxError, CacheLayer, store::Memory};
    /// # use tower::{Layer, ServiceExt, service_fn};
    /// use http_body::Body as _;
    /// use seawall::cache::Body;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
    /// # let origin = service_fn(|_: Request<Empty<Bytes>>| async {
    /// #     Ok::<_, BoxError>(Response::new(Full::<Bytes>::from("a page")))
    /// # });
    /// # let service = CacheLayer::new(Memory::default()).layer(origin);
    /// # let request = Request::get("http://example.com/").body(Empty::<Bytes>::new())?;
    /// let body: Body<Full<Bytes>> = service.oneshot(request).await?.into_body();
    /// assert_eq!(body.size_hint().exact(), Some(6));
    /// assert_eq!(body.collect().await?.to_bytes(), "a page");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of the origin's body; a reader of a recording gets them as a
    /// [`SharedError`](crate::SharedError).
    pub struct Body<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindOf]
    enum Kind<B> {
        Stored { body: Bytes, trailers: Option<Arc<HeaderMap>> },
        OnItsWay { reader: Reader<Arc<Head>>, cut: Option<Cut>, length: Option<u64>, rest: Rest<B> },
        Origin { #[pin] body: B },
        HandedOver { body: Pin<Box<B>>, cut: Option<Cut>, trailers: Option<Box<HeaderMap>> },
    }
}

/// What of a body is wanted: `skip` bytes are left out, then `take` are passed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) skip: u64,
    pub(crate) take: u64,
}

/// Where a leader gets what was not recorded any more.
pub(crate) enum Rest<B> {
    /// Nowhere: this is a follower.
    None,
    Sent(oneshot::Receiver<HandedOver<B>>),
}

/// The origin's body, and a frame that was read from it and has not been recorded.
pub(crate) struct HandedOver<B> {
    pub(crate) first: Option<Bytes>,
    pub(crate) body: Pin<Box<B>>,
    /// Trailers that were read, where the end was not.
    pub(crate) trailers: Option<Box<HeaderMap>>,
}

impl<B> Body<B> {
    pub(crate) fn empty() -> Self {
        Self::stored(Bytes::new(), None)
    }

    pub(crate) fn stored(body: Bytes, trailers: Option<Arc<HeaderMap>>) -> Self {
        Self { kind: Kind::Stored { body, trailers } }
    }

    pub(crate) fn on_its_way(
        reader: Reader<Arc<Head>>,
        cut: Option<Cut>,
        length: Option<u64>,
        rest: Rest<B>,
    ) -> Self {
        Self { kind: Kind::OnItsWay { reader, cut, length, rest } }
    }

    pub(crate) fn origin(body: B) -> Self {
        Self { kind: Kind::Origin { body } }
    }
}

impl<B> HttpBody for Body<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut kind = self.project().kind;
        loop {
            match kind.as_mut().project() {
                KindOf::Stored { body, trailers } => {
                    if !body.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(std::mem::take(body)))));
                    }
                    let trailers = trailers.take().map(|trailers| (*trailers).clone());
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                KindOf::Origin { body } => {
                    return body.poll_frame(cx).map_err(Into::into);
                }
                KindOf::HandedOver { body, cut, trailers } => {
                    let Some(cut) = cut else {
                        let frame =
                            ready!(body.as_mut().poll_frame(cx)).map(|f| f.map_err(Into::into));
                        let recorded = || trailers.take().map(|all| Ok(Frame::trailers(*all)));
                        return Poll::Ready(frame.or_else(recorded));
                    };
                    if cut.take == 0 {
                        return Poll::Ready(None);
                    }
                    let frame = match ready!(body.as_mut().poll_frame(cx)) {
                        Some(Ok(frame)) => frame,
                        Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                        // A part that is not there in full is no part.
                        None => return Poll::Ready(Some(Err(FetchError::Length.into()))),
                    };
                    let Ok(mut data) = frame.into_data() else { continue };
                    cut.apply(&mut data);
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                KindOf::OnItsWay { reader, cut, length, rest } => {
                    if cut.is_some_and(|cut| cut.take == 0) {
                        kind.set(Kind::Stored { body: Bytes::new(), trailers: None });
                        continue;
                    }
                    match ready!(reader.poll_read(cx)) {
                        Read::Data(mut data) => {
                            if let Some(cut) = cut {
                                cut.apply(&mut data);
                            }
                            if let Some(length) = length {
                                *length = length.saturating_sub(data.len() as u64);
                            }
                            if !data.is_empty() {
                                return Poll::Ready(Some(Ok(Frame::data(data))));
                            }
                        }
                        Read::Trailers(trailers) => {
                            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                        }
                        Read::End => {
                            kind.set(Kind::Stored { body: Bytes::new(), trailers: None });
                        }
                        Read::Failed(error) => return Poll::Ready(Some(Err(error.into()))),
                        Read::Rest => {
                            let Rest::Sent(sent) = rest else { return gone() };
                            let Ok(rest) = ready!(Pin::new(sent).poll(cx)) else { return gone() };
                            let mut cut = *cut;
                            let mut first = rest.first.unwrap_or_default();
                            if let Some(cut) = &mut cut {
                                cut.apply(&mut first);
                            }
                            let trailers = rest.trailers;
                            kind.set(Kind::HandedOver { body: rest.body, cut, trailers });
                            if !first.is_empty() {
                                return Poll::Ready(Some(Ok(Frame::data(first))));
                            }
                        }
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Stored { body, trailers } => body.is_empty() && trailers.is_none(),
            Kind::OnItsWay { reader, cut, .. } => {
                cut.is_some_and(|cut| cut.take == 0) || reader.is_at_end()
            }
            Kind::Origin { body } => body.is_end_stream(),
            Kind::HandedOver { cut: Some(cut), .. } => cut.take == 0,
            Kind::HandedOver { body, trailers, .. } => trailers.is_none() && body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Stored { body, .. } => SizeHint::with_exact(body.len() as u64),
            Kind::OnItsWay { cut: Some(cut), .. } => SizeHint::with_exact(cut.take),
            Kind::OnItsWay { length: Some(length), .. } => SizeHint::with_exact(*length),
            Kind::OnItsWay { .. } => SizeHint::default(),
            Kind::Origin { body } => body.size_hint(),
            Kind::HandedOver { cut: Some(cut), .. } => SizeHint::with_exact(cut.take),
            Kind::HandedOver { body, .. } => body.size_hint(),
        }
    }
}

fn gone<T>() -> Poll<Option<Result<T, BoxError>>> {
    Poll::Ready(Some(Err(FetchError::Aborted.into())))
}

impl Cut {
    fn apply(&mut self, data: &mut Bytes) {
        let skipped = self.skip.min(data.len() as u64);
        self.skip -= skipped;
        *data = data.slice(skipped as usize..);
        let taken = self.take.min(data.len() as u64);
        self.take -= taken;
        data.truncate(taken as usize);
    }
}

impl<B> fmt::Debug for Body<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Stored { body, .. } => f.debug_tuple("Stored").field(&body.len()).finish(),
            Kind::OnItsWay { reader, .. } => f.debug_tuple("OnItsWay").field(reader).finish(),
            Kind::Origin { .. } | Kind::HandedOver { .. } => f.write_str("Origin"),
        }
    }
}
