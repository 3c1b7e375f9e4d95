//! A body with the permit of its call.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
    response::Parts,
};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{Outcome, Permit, Settle, grpc_status, rules::asks_to_wait};

pin_project! {
    /// The inner service's body, with the permit of its call until it ends; or that of a fallback.
    ///
    /// It ends where its last byte, or its trailers, were read, with its first error, or where it is
    /// dropped.
    ///
    /// ```
    /// # use http::{Request, Response};
    /// # use http_body_util::BodyExt;
    /// # use seawall::{BoxError, LoadShedLayer};
    /// # use tower::{Layer, ServiceExt, service_fn};
    /// use seawall::{admission::PermitBody, load_shed::Call};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
    /// # let origin = service_fn(|_: Request<()>| async {
    /// #     Ok::<_, BoxError>(Response::new("a page".to_owned()))
    /// # });
    /// let layer = LoadShedLayer::default();
    /// let response = layer.layer(origin).oneshot(Request::new(())).await?;
    /// let body: PermitBody<String, Call> = response.into_body();
    /// assert_eq!(layer.gauge().in_flight(), 1);
    /// assert_eq!(body.collect().await?.to_bytes(), "a page");
    /// assert_eq!(layer.gauge().in_flight(), 0);
    /// # Ok(()) }
    /// ```
    pub struct PermitBody<B, T: Settle> {
        #[pin]
        kind: Kind<B, T>,
    }
}

pin_project! {
    #[project = KindOf]
    enum Kind<B, T: Settle> {
        Inner { #[pin] body: B, held: Option<Held<T>> },
        Bytes { bytes: Bytes },
    }
}

/// A permit until the end of a body.
struct Held<T: Settle> {
    permit: Permit<T>,
    at_end: AtEnd,
    /// What is left of the length that the head declares.
    left: Option<u64>,
}

/// How the call went, once its body has ended as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtEnd {
    Known(Outcome),
    /// The trailers will say.
    Trailers,
}

impl AtEnd {
    /// What the head tells.
    pub(super) fn known(self) -> Option<Outcome> {
        match self {
            Self::Known(outcome) => Some(outcome),
            Self::Trailers => None,
        }
    }

    fn outcome(self) -> Outcome {
        // What ends without its trailers was cut off.
        self.known().unwrap_or(Outcome::Failure)
    }

    /// How it went if the body broke off.
    fn broken_off(self) -> Outcome {
        match self {
            Self::Known(Outcome::Unrelated) => Outcome::Unrelated,
            _ => Outcome::Failure,
        }
    }
}

impl<B: Body<Data = Bytes>, T: Settle> PermitBody<B, T> {
    pub(super) fn new(head: &Parts, body: B, permit: Permit<T>, at_end: AtEnd) -> Self {
        let declared = head.headers.get(CONTENT_LENGTH);
        let declared = declared.and_then(|value| value.to_str().ok()?.parse().ok());
        let left = declared.or_else(|| body.size_hint().exact());
        let whole = left == Some(0) && at_end != AtEnd::Trailers;
        let over = whole
            || body.is_end_stream()
            || permit.is_head_only()
            || has_no_body(head.status)
            || head.headers.get(CONTENT_TYPE).is_some_and(|kind| is_endless(kind.as_bytes()));
        let held = if over {
            let bodiless = permit.is_head_only() || has_no_body(head.status);
            let missing = !bodiless && body.is_end_stream() && left > Some(0);
            permit.settle(if missing { at_end.broken_off() } else { at_end.outcome() });
            None
        } else {
            Some(Held { permit, at_end, left })
        };
        Self { kind: Kind::Inner { body, held } }
    }
}

impl<B, T: Settle> PermitBody<B, T> {
    pub(super) fn bytes(bytes: Bytes) -> Self {
        Self { kind: Kind::Bytes { bytes } }
    }
}

/// RFC 9110 §6.4.1; and what follows a switch of protocols is no body.
fn has_no_body(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// An event stream lasts as long as its client likes.
fn is_endless(kind: &[u8]) -> bool {
    let stream = b"text/event-stream";
    kind.get(..stream.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(stream))
}

impl<B, T> Body for PermitBody<B, T>
where
    B: Body<Data = Bytes>,
    T: Settle,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let (mut body, place) = match self.project().kind.project() {
            KindOf::Inner { body, held } => (body, held),
            KindOf::Bytes { bytes } => {
                let bytes = std::mem::take(bytes);
                return Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))));
            }
        };
        let Some(held) = place else {
            return body.poll_frame(cx);
        };
        held.permit.read();
        let polled = ready!(held.permit.around(|| body.as_mut().poll_frame(cx)));
        let ended = match &polled {
            None => Some(held.outcome()),
            Some(Err(_)) => Some(held.at_end.broken_off()),
            Some(Ok(frame)) => held.saw(frame, body.is_end_stream()),
        };
        if let Some(outcome) = ended
            && let Some(held) = place.take()
        {
            held.permit.settle(outcome);
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body, .. } => body.is_end_stream(),
            Kind::Bytes { bytes } => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body, .. } => body.size_hint(),
            Kind::Bytes { bytes } => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

impl<T: Settle> Held<T> {
    /// How the call went, if this was its last frame: many a reader does not ask for one more.
    fn saw(&mut self, frame: &Frame<Bytes>, ended: bool) -> Option<Outcome> {
        if let Some(trailers) = frame.trailers_ref() {
            if self.at_end == AtEnd::Trailers {
                let outcome = grpc_status::of(trailers).unwrap_or(Outcome::Failure);
                self.at_end = AtEnd::Known(outcome);
                if let (Outcome::Failure | Outcome::Overload, Some(wait)) =
                    (outcome, asks_to_wait(trailers))
                {
                    self.permit.heed(wait);
                }
            }
            return Some(self.outcome());
        }
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        self.left = self.left.map(|left| left.saturating_sub(length));
        let whole = self.left == Some(0) && self.at_end != AtEnd::Trailers;
        (ended || whole).then(|| self.outcome())
    }

    /// How the call went whose body ends here.
    fn outcome(&self) -> Outcome {
        match self.left {
            Some(left) if left > 0 => self.at_end.broken_off(),
            _ => self.at_end.outcome(),
        }
    }
}

impl<B: fmt::Debug, T: Settle> fmt::Debug for PermitBody<B, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Inner { body, held } => f
                .debug_struct("PermitBody")
                .field("body", body)
                .field("held", &held.is_some())
                .finish(),
            Kind::Bytes { bytes } => f.debug_tuple("PermitBody").field(bytes).finish(),
        }
    }
}
