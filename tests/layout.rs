//! Records as bytes, and back: through a cache whose store keeps nothing but bytes, beside one that keeps
//! everything as it is.
#![cfg(feature = "remote")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[path = "layout/alike.rs"]
mod alike;
#[path = "layout/misses.rs"]
mod misses;

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use seawall::{
    BoxError, Cache, CacheLayer,
    rfc9111::Profile,
    store::{Key, Record, Store},
};
use support::{Calls, Req, boxed};
use tower::{Layer, service_fn};

/// Keeps bytes, under names.
#[derive(Clone, Default)]
struct Far(Arc<Mutex<HashMap<String, Bytes>>>);

impl Store for Far {
    async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
        let found = self.0.lock().unwrap().get(&key.name()).cloned();
        Ok(found.map(|bytes| Record::from_bytes(key, bytes)).transpose()?)
    }

    async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        let bytes = record.to_bytes(&key).expect("all that a cache stores can be stored far");
        self.0.lock().unwrap().insert(key.name(), bytes);
        Ok(())
    }

    async fn remove(&self, key: &Key) -> Result<(), BoxError> {
        self.0.lock().unwrap().remove(&key.name());
        Ok(())
    }
}

/// What an origin answers with.
#[derive(Clone, Debug)]
struct Answer {
    status: u16,
    fields: Vec<(String, HeaderValue)>,
    body: Vec<u8>,
    trailers: Option<Vec<(String, HeaderValue)>>,
}

fn plain(status: u16, lines: &[(&str, &str)], body: &str) -> Answer {
    let line = |(name, value): &(&str, &str)| (name.to_string(), value.parse().unwrap());
    let fields = lines.iter().map(line).collect();
    Answer { status, fields, body: body.into(), trailers: None }
}

fn map(lines: &[(String, HeaderValue)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        fields.append(name.parse::<HeaderName>().unwrap(), value.clone());
    }
    fields
}

/// A service over `cache` and an origin that always says the same, and counts how often.
fn service(
    cache: Cache,
    answer: &Answer,
    calls: &Calls,
) -> impl tower::Service<
    Req,
    Response = Response<impl http_body::Body<Data = Bytes, Error: Into<BoxError>>>,
    Error = BoxError,
> {
    let (answer, calls) = (answer.clone(), calls.clone());
    let origin = service_fn(move |_: Request<Empty<Bytes>>| {
        calls.add();
        let answer = answer.clone();
        async move {
            let mut response = Response::new(match answer.trailers {
                None => boxed(Full::new(Bytes::from(answer.body))),
                Some(lines) => {
                    let trailers = async move { Some(Ok(map(&lines))) };
                    boxed(Full::new(Bytes::from(answer.body)).with_trailers(trailers))
                }
            });
            *response.status_mut() = StatusCode::from_u16(answer.status).unwrap();
            *response.headers_mut() = map(&answer.fields);
            Ok::<_, Infallible>(response)
        }
    });
    CacheLayer::new(cache).policy(Profile::reverse_proxy()).layer(origin)
}

/// What is written behind an answer is written.
async fn settled() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
