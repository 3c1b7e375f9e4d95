//! The body of a client's request, on its way through the layers.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use seawall::cache::Message;

use crate::BoxError;

/// As it comes in; or, of a gRPC call that may be answered from storage, what was read of it, and then
/// the rest.
pub(crate) enum Asked {
    Incoming(Incoming),
    Read(Pin<Box<Message<Self>>>),
    /// Of a GET that the cache sends a second time.
    Empty,
}

impl Asked {
    pub(crate) fn read(message: Message<Self>) -> Self {
        Self::Read(Box::pin(message))
    }
}

impl Body for Asked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Incoming(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Read(body) => body.as_mut().poll_frame(cx),
            Self::Empty => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Incoming(body) => body.is_end_stream(),
            Self::Read(body) => body.is_end_stream(),
            Self::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Incoming(body) => body.size_hint(),
            Self::Read(body) => body.size_hint(),
            Self::Empty => SizeHint::with_exact(0),
        }
    }
}
