//! The layer, the store, the requests and the answers that these tests have in common.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Empty;
use seawall::{
    BoxError, Cache, CacheLayer, Profile, UriKey,
    cache::Again,
    store::{Key, Record, Store},
};
use tokio::time::sleep;

use crate::{
    millis,
    support::{
        BoxedOrigin, Calls, Req, Res, answer, answer_status,
        bodies::{Step, Steps},
        get, origin, with,
    },
};

/// What there is at the origin.
pub(crate) const WHOLE: &str = "0123456789";

/// It may be kept for a minute, and its parts be put together.
pub(crate) const KEPT: &[(&str, &str)] = &[("cache-control", "max-age=60"), ("etag", "\"a\"")];

pub(crate) type AgainLayer = CacheLayer<Again<UriKey, fn() -> Empty<Bytes>>>;

/// A reverse proxy's cache that can ask a second time.
pub(crate) fn layer(cache: Cache) -> AgainLayer {
    let key = Again::new(UriKey::new(), Empty::new as fn() -> Empty<Bytes>);
    CacheLayer::new(cache).policy(Profile::reverse_proxy()).key(key)
}

pub(crate) fn ask(method: Method, path: &str) -> Req {
    let uri = format!("http://example.com{path}");
    Request::builder().method(method).uri(uri).body(Empty::new()).unwrap()
}

/// A GET of `/` for some bytes of it.
pub(crate) fn range(bytes: &str) -> Req {
    with(get("/"), "range", &format!("bytes={bytes}"))
}

/// The first and the last of the ten bytes that a request asks for, if it asks for a range.
pub(crate) fn bytes_asked(request: &Req) -> Option<(usize, usize)> {
    let bytes = request.headers().get("range")?.to_str().unwrap().strip_prefix("bytes=").unwrap();
    let (first, last) = bytes.split_once('-').unwrap();
    Some((first.parse().unwrap(), last.parse().unwrap_or(9)))
}

/// `KEPT`, and these after it.
pub(crate) fn kept_and<'f>(more: &[(&'f str, &'f str)]) -> Vec<(&'f str, &'f str)> {
    [KEPT, more].concat()
}

/// The 206 with these bytes of the ten.
pub(crate) fn part((first, last): (usize, usize), fields: &[(&str, &str)]) -> Res {
    let range = format!("bytes {first}-{last}/10");
    let fields = [fields, &[("content-range", &range)]].concat();
    answer_status(206, &fields, &WHOLE[first..=last])
}

/// The range that is asked for, or the whole.
pub(crate) fn as_asked(request: &Req) -> Res {
    bytes_asked(request).map_or_else(|| answer(KEPT, WHOLE), |bytes| part(bytes, KEPT))
}

/// An origin that knows ranges.
pub(crate) fn with_ranges() -> (Calls, BoxedOrigin) {
    origin(|_, request| async move { Ok(as_asked(&request)) })
}

/// The head of `answer`, with a body that says nothing of its length.
pub(crate) fn stepped(
    answer: Res,
    steps: impl IntoIterator<Item = Step>,
) -> Result<Response<Steps>, BoxError> {
    let (parts, _) = answer.into_parts();
    Ok(Response::from_parts(parts, Steps::new(steps)))
}

/// These bytes, after each of which the origin pauses.
pub(crate) fn slowly(text: &'static str) -> Vec<Step> {
    let bytes = text.as_bytes().chunks(1);
    bytes.flat_map(|byte| [Step::Data(byte.into()), Step::Wait(millis(100))]).collect()
}

/// A store that has to be waited for.
#[derive(Clone, Default)]
pub(crate) struct Far(Arc<Mutex<HashMap<Key, Record>>>);

const FAR: Duration = Duration::from_millis(1);

impl Store for Far {
    async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
        sleep(FAR).await;
        Ok(self.0.lock().unwrap().get(key).cloned())
    }

    async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        sleep(FAR).await;
        self.0.lock().unwrap().insert(key, record);
        Ok(())
    }

    async fn remove(&self, key: &Key) -> Result<(), BoxError> {
        sleep(FAR).await;
        self.0.lock().unwrap().remove(key);
        Ok(())
    }
}
