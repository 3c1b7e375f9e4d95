//! Another implementation of gRPC as the client: what it takes for an answer, and for an error.

use std::{net::SocketAddr, process::Stdio};

use prost::Message;
use seawall::CacheLayer;
use tokio::process::Command;
use tonic::Code;

use crate::{
    shop::{FIND, HALF, SAVE, Shop, key, landed, query, serve_behind},
    support::cache,
};

/// The interpreter that Debian's packages belong to; `tests/run` installs what it needs.
const PYTHON: &str = "/usr/bin/python3";

/// What each of so many calls was answered with, in the words of `foreign.py`.
async fn calls(addr: SocketAddr, path: &str, times: usize) -> Vec<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/grpc/foreign.py");
    let message: String =
        query("shoe").encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut command = Command::new(PYTHON);
    command.args([script, &addr.to_string(), path, &message, &times.to_string()]);
    let output = command.stderr(Stdio::inherit()).kill_on_drop(true).output().await.unwrap();
    assert!(output.status.success(), "needs python3-grpcio: see tests/run");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_client_gets_answers_from_storage_and_errors_as_they_are() {
    let ((shop, _), cache) = (Shop::open(), cache());
    let addr = serve_behind(CacheLayer::new(cache.clone()).key(key()), &shop).await;

    // An item named `shoe`, of the first call.
    let stored = "OK|0a0473686f651001|seawall; fwd=uri-miss; fwd-status=200; stored|1";
    assert_eq!(calls(addr, FIND, 1).await, [stored]);
    landed(&cache).await;
    let hit = "OK|0a0473686f651001|seawall; hit|1";
    assert_eq!(calls(addr, FIND, 2).await, [hit, hit]);
    let saved = "OK|0a0473686f651002|seawall; fwd=method; fwd-status=200|2";
    assert_eq!(calls(addr, SAVE, 1).await, [saved]);

    let half = calls(addr, HALF, 1).await.join("");
    assert!(half.starts_with("DATA_LOSS|the other half|"), "{half}");
    cache.invalidator().invalidate(&seawall::Invalidation::everything()).await;
    shop.fails(Code::NotFound);
    let missing = calls(addr, FIND, 1).await.join("");
    assert!(missing.starts_with("NOT_FOUND|as it was told|"), "{missing}");
    // One that is shared, and one that is the cache's own.
    shop.fails(Code::Unavailable);
    let closed = calls(addr, FIND, 3).await;
    assert!(closed[0].starts_with("UNAVAILABLE|as it was told|"), "{closed:?}");
    assert!(closed[2].starts_with("UNAVAILABLE|unavailable|"), "{closed:?}");
}
