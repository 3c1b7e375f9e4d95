//! The origin as a tower service: pooled connections, a timeout, and figures.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header, uri::Authority,
};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::{Instant, Sleep, sleep};
use tower::{Service, timeout::error::Elapsed};

use crate::{
    BoxError,
    flags::{OriginUrl, Protocol},
    hop::{self, OneHop},
    multiplex::Multiplexed,
    proxy,
    stats::{Call, Stats},
    upload::{Party, Progress, Upload},
};

/// The origin. Errors are [`Failure`]s.
#[derive(Clone)]
pub(crate) struct Origin {
    line: Line,
    address: Authority,
    timeout: Duration,
    tags: HeaderName,
    stats: Arc<Stats>,
}

#[derive(Clone)]
enum Line {
    Pool(Arc<Client<HttpConnector, Upload>>),
    One(Multiplexed),
}

impl Origin {
    /// `timeout` is for the answer's head, counted from the last byte of the request that moved,
    /// and for each silence within the answer's body; `tags` is the field that answers are tagged in.
    pub(crate) fn new(
        url: &OriginUrl,
        timeout: Duration,
        tags: HeaderName,
        stats: Arc<Stats>,
    ) -> Self {
        let line = match url.protocol {
            Protocol::Http1 => Line::Pool(Arc::new(pool(timeout))),
            Protocol::H2c => Line::One(Multiplexed::new(url.authority.clone(), timeout / 2)),
        };
        Self { line, address: url.authority.clone(), timeout, tags, stats }
    }

    async fn send<B>(self, request: Request<B>) -> Result<Response<Download>, BoxError>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let mut call = self.stats.origin_call();
        let (mut head, body) = request.into_parts();
        let one_hop = head.extensions.remove::<OneHop>().unwrap_or_default();
        let (body, progress) = Upload::new(body, one_hop);
        let version = match self.line {
            Line::Pool(_) => Version::HTTP_11,
            Line::One(_) => Version::HTTP_2,
        };
        proxy::send_on(&mut head, &self.address, version);
        if version == Version::HTTP_11 && has_unsized_body(&head.method, &body) {
            head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let answer = tokio::select! {
            answer = self.line.send(Request::from_parts(head, body), &progress) => answer,
            party = progress.stalled(self.timeout) => Err(match party {
                Party::Client => Failure::ClientStalled,
                _ => Failure::TimedOut(Elapsed::new()),
            }),
        };
        let answer = answer.inspect_err(|failure| {
            if failure.is_the_origins() {
                call.fail();
            }
        })?;
        if answer.status().is_server_error() {
            call.fail();
        }
        let (mut head, body) = answer.into_parts();
        if !body.is_end_stream() && !hop::is_content(&head.headers) {
            call.fail();
            return Err(Failure::Broken("a transfer coding that is not undone".into()).into());
        }
        let one_hop = proxy::answered(&mut head, Some(&self.tags));
        Ok(Response::from_parts(head, Download::new(body, one_hop, self.timeout, call)))
    }
}

/// hyper sends no body with these methods unless its framing is spelled out.
fn has_unsized_body(method: &Method, body: &Upload) -> bool {
    let rarely = matches!(*method, Method::GET | Method::HEAD);
    rarely && !body.is_end_stream() && body.size_hint().exact().is_none()
}

impl<B> Service<Request<B>> for Origin
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Download>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Download>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

fn pool(timeout: Duration) -> Client<HttpConnector, Upload> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    // A connection that takes this long is one that cannot be made, not a slow answer.
    connector.set_connect_timeout(Some(timeout / 2));
    connector.set_keepalive(Some(Duration::from_secs(60)));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        // Below the keep-alive of common origins (5 s), so that it is not they who end it just
        // as a request is sent.
        .pool_idle_timeout(Duration::from_secs(4))
        .pool_max_idle_per_host(256)
        .build(connector)
}

impl Line {
    async fn send(
        &self,
        request: Request<Upload>,
        progress: &Progress,
    ) -> Result<Response<Incoming>, Failure> {
        let answer = match self {
            Self::Pool(client) => {
                client.request(request).await.map_err(|error| match error.is_connect() {
                    true => Failure::Unreachable(error.into()),
                    false => Failure::Broken(error.into()),
                })
            }
            Self::One(connection) => connection.send(request).await,
        };
        match answer {
            Err(Failure::Broken(_)) if progress.waits_for() == Party::Nobody => {
                Err(Failure::ClientGone)
            }
            Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                Err(Failure::Broken("protocols switched without being asked".into()))
            }
            answer => answer,
        }
    }
}

/// Why the origin gave no answer, or not all of it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection could be made.
    Unreachable(BoxError),
    /// Nothing came for as long as the timeout.
    TimedOut(Elapsed),
    /// The connection ended, or made no sense, before the answer was whole.
    Broken(BoxError),
    /// The client did not go on with the request's body for as long as the timeout.
    ClientStalled,
    /// The client went away within the request's body.
    ClientGone,
}

impl Failure {
    fn is_the_origins(&self) -> bool {
        !matches!(self, Self::ClientStalled | Self::ClientGone)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable(_) => "origin unreachable",
            Self::TimedOut(_) => "origin timed out",
            Self::Broken(_) => "origin's answer broken",
            Self::ClientStalled => "request body stalled",
            Self::ClientGone => "request body broke off",
        })
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreachable(cause) | Self::Broken(cause) => Some(&**cause),
            Self::TimedOut(elapsed) => Some(elapsed),
            Self::ClientStalled | Self::ClientGone => None,
        }
    }
}

/// The origin's answer as it comes in. The call is in flight until it ends or is dropped.
pub(crate) struct Download {
    inner: Incoming,
    one_hop: OneHop,
    idle: Duration,
    /// Runs while the origin is waited for, not while the client is.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    call: Option<Call>,
}

impl Download {
    fn new(inner: Incoming, one_hop: OneHop, idle: Duration, call: Call) -> Self {
        let call = (!inner.is_end_stream()).then_some(call);
        Self { inner, one_hop, idle, timer: None, waiting: false, call }
    }

    /// Ready once the origin has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle = self.idle;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(idle)));
        if !std::mem::replace(&mut self.waiting, true) {
            timer.as_mut().reset(Instant::now() + idle);
        }
        timer.as_mut().poll(cx)
    }

    fn fail(&mut self, failure: Failure) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(mut call) = self.call.take() {
            call.fail();
        }
        Poll::Ready(Some(Err(failure.into())))
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
            ready!(self.poll_silence(cx));
            return self.fail(Failure::TimedOut(Elapsed::new()));
        };
        self.waiting = false;
        match frame {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    hop::clean(trailers, &self.one_hop);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => self.fail(Failure::Broken(error.into())),
            None => {
                self.call = None;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
