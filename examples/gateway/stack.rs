//! The layers between the front and the origin: the one place that knows them.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use seawall::{
    Cache, CacheLayer, CircuitBreaker, CircuitBreakerLayer, GrpcKey, LoadShedLayer, Profile,
    RequestKey, RespondLayer, UriKey,
    admission::{ByError, ByStatus, Outcome},
    cache::{Again, CacheBuilder},
    load_shed::{Criticality, Gauge, Rate},
    observe::Event,
};
use tower::{Service, ServiceBuilder, util::option_layer};

use crate::{
    BoxError,
    asked::Asked,
    flags::{self, Flags},
    forwarded::Came,
    origin::{Failure, Origin},
    stats::{Guarded, Kept, Stats},
    varies::AsSeen,
};

/// What the layers share.
pub(crate) fn cache(store: CacheBuilder, flags: &Flags, stats: &Arc<Stats>) -> Cache {
    #[cfg(feature = "metrics")]
    // Handles are made with the recorder that is there: it comes first.
    if let Ok(recorder) = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder() {
        stats.exported_by(move || recorder.render());
    }
    let cache = store
        .max_body(usize::try_from(flags.max_body).unwrap_or(usize::MAX))
        .observer(observer(stats))
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
        Event::Shed(_) | Event::OverQuota => &stats.shed,
        Event::CircuitRefused { .. } => &stats.circuit_refused,
        _ => return,
    };
    counter.fetch_add(1, Relaxed);
}

/// What tells pages apart.
pub(crate) fn key() -> UriKey {
    UriKey::new()
}

/// What tells requests apart, gRPC calls included.
fn keys(flags: &Flags) -> impl RequestKey<Asked> {
    let calls = GrpcKey::new(Asked::read);
    let methods = flags.grpc_cache.iter();
    let keys = methods.fold(calls, |calls, method| calls.method(&method.path, method.lifetime));
    Again::new(keys, || Asked::Empty)
}

/// What stands between the cache and the origin, and its figures in `stats`.
struct Guards {
    shed: LoadShedLayer,
    breaker: CircuitBreakerLayer,
}

impl Guards {
    fn new(flags: &Flags, stats: &Arc<Stats>) -> Self {
        // What the client did wrong says nothing of the origin.
        let by_status = ByStatus::new().error(|error| match error.downcast_ref()? {
            Failure::ClientStalled | Failure::ClientGone => Some(Outcome::Unrelated),
            _ => None,
        });
        let calls = match flags.limit {
            flags::Limit::Off => usize::MAX,
            flags::Limit::Calls(calls) => calls,
        };
        let shed =
            LoadShedLayer::fixed(calls).observer(observer(stats)).classify(by_status.clone());
        let share = match flags.breaker {
            flags::Breaker::Off => 1.0,
            flags::Breaker::Share(share) => share,
        };
        let breaker = CircuitBreakerLayer::new()
            .failure_rate(share, 20)
            .lease(flags.timeout)
            .observer(observer(stats))
            .classify(by_status);
        if flags.breaker == flags::Breaker::Off {
            breaker.breaker().force_closed();
        }
        let (gauge, circuit, limit) = (shed.gauge(), breaker.breaker(), flags.limit);
        stats.guarded_by(move || guarded(&gauge, &circuit, limit));
        Self { shed, breaker }
    }
}

fn guarded(gauge: &Gauge, circuit: &CircuitBreaker, limit: flags::Limit) -> Guarded {
    let counts = circuit.counts();
    Guarded {
        limit: (limit != flags::Limit::Off).then(|| gauge.limit()),
        in_flight: gauge.in_flight(),
        circuit: circuit.state(),
        calls: counts.calls,
        failures: counts.failures,
    }
}

fn observer(stats: &Arc<Stats>) -> impl Fn(&Event<'_>) + Send + Sync + 'static {
    let counted = Arc::clone(stats);
    #[cfg(feature = "metrics")]
    let metrics = seawall::observe::Metrics::new();
    move |event: &Event<'_>| {
        count(&counted, event);
        #[cfg(feature = "metrics")]
        seawall::observe::Observer::on_event(&metrics, event);
    }
}

/// Everything a request passes on its way to the origin.
pub(crate) fn stack(
    origin: Origin,
    flags: &Flags,
    cache: Cache,
    stats: &Arc<Stats>,
) -> impl Service<
    Request<Asked>,
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
    let profile = profile
        .lenient_content_range(flags.lenient)
        .tail_without_validator(flags.lenient)
        .language_by_quality(flags.lenient);
    let cached = CacheLayer::new(cache)
        .policy(AsSeen(profile))
        .key(keys(flags))
        .stale_while_revalidate(flags.stale_while_revalidate)
        .stale_if_error(flags.stale_if_error)
        .keep_stale(flags.keep_stale)
        .tag_field(flags.tag_header.clone());
    // Above the cache, since a client may not ask for more than its share of hits either; and with
    // nothing that a hit would pay for: its answers are not held.
    let quota = flags.quota.map(|flags::Quota(calls)| {
        LoadShedLayer::fixed(usize::MAX)
            .observer(observer(stats))
            .classify(ByError::new())
            .criticality(|_: &Request<Asked>| Criticality::Normal)
            .quota(Rate::per_second(calls), |request: &Request<Asked>| {
                request.extensions().get().map(Came::account)
            })
    });
    let Guards { shed, breaker } = Guards::new(flags, stats);
    ServiceBuilder::new()
        .layer(RespondLayer::new().status(status))
        .layer(option_layer(quota))
        .layer(cached)
        .layer(shed)
        .layer(breaker)
        .service(origin)
}

/// What a client is told when its own request broke off. Timeouts the layer knows by itself.
fn status(error: &(dyn std::error::Error + 'static)) -> Option<StatusCode> {
    match error.downcast_ref()? {
        Failure::ClientStalled => Some(StatusCode::REQUEST_TIMEOUT),
        Failure::ClientGone => Some(StatusCode::BAD_REQUEST),
        _ => None,
    }
}
