//! The layers between the front and the origin: the one place that knows them.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use seawall::{Cache, CacheLayer, Profile, RespondLayer, UriKey, observe::Event, store::Memory};
use tower::{Service, ServiceBuilder};

use crate::{
    BoxError,
    flags::{self, Flags},
    origin::{Failure, Origin},
    stats::{Kept, Stats},
};

/// What the layers share.
pub(crate) fn cache(flags: &Flags, stats: &Arc<Stats>) -> Cache {
    let counted = Arc::clone(stats);
    #[cfg(feature = "metrics")]
    let metrics = {
        // Handles are made with the recorder that is there: it comes first.
        if let Ok(recorder) =
            metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder()
        {
            stats.exported_by(move || recorder.render());
        }
        seawall::observe::Metrics::new()
    };
    let cache = Cache::builder(Memory::bytes(flags.memory))
        .max_body(usize::try_from(flags.max_body).unwrap_or(usize::MAX))
        .observer(move |event: &Event<'_>| {
            count(&counted, event);
            #[cfg(feature = "metrics")]
            seawall::observe::Observer::on_event(&metrics, event);
        })
        .build();
    let asked = cache.clone();
    stats.kept_by(move || {
        let figures = asked.figures();
        Kept {
            entries: figures.records,
            bytes: figures.bytes,
            flights: figures.flights as u64,
            uncacheable_remembered: figures.remembered as u64,
            failures_remembered: figures.failing as u64,
            position: figures.position,
        }
    });
    cache
}

fn count(stats: &Stats, event: &Event<'_>) {
    let counter = match event {
        Event::Hit => &stats.hits,
        Event::StaleHit(_) => &stats.stale_hits,
        Event::Miss => &stats.misses,
        Event::Followed => &stats.followers,
        Event::Passed(_) => &stats.passes,
        Event::Refreshing => &stats.refreshes,
        _ => return,
    };
    counter.fetch_add(1, Relaxed);
}

/// What tells requests apart.
pub(crate) fn key() -> UriKey {
    UriKey::new()
}

/// Everything a request passes on its way to the origin.
pub(crate) fn stack(
    origin: Origin,
    flags: &Flags,
    cache: Cache,
) -> impl Service<
    Request<Incoming>,
    Response = Response<impl Body<Data = Bytes, Error = BoxError> + Send + 'static>,
    Error = Infallible,
    Future: Send + 'static,
> + Clone
+ Send
+ 'static {
    let profile = match flags.profile {
        flags::Profile::Safe => Profile::safe(),
        flags::Profile::ReverseProxy => Profile::reverse_proxy(),
    };
    let cached = CacheLayer::new(cache)
        .policy(profile)
        .key(key())
        .stale_while_revalidate(flags.stale_while_revalidate)
        .stale_if_error(flags.stale_if_error)
        .keep_stale(flags.keep_stale)
        .tag_field(flags.tag_header.clone());
    ServiceBuilder::new().layer(RespondLayer::new().status(status)).layer(cached).service(origin)
}

/// What a client is told when its own request broke off. Timeouts the layer knows by itself.
fn status(error: &(dyn std::error::Error + 'static)) -> Option<StatusCode> {
    match error.downcast_ref()? {
        Failure::ClientStalled => Some(StatusCode::REQUEST_TIMEOUT),
        Failure::ClientGone => Some(StatusCode::BAD_REQUEST),
        _ => None,
    }
}
