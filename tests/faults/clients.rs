//! A client of others takes the addresses of these servers as they are.

use std::fs;

use redis::{
    Client, TlsCertificates, cluster::ClusterClient, cmd, sentinel::Sentinel as Sentinels,
};

use crate::support::servers::{Cluster, Redis, Sentinel};

/// As whom the server knows this client.
async fn who(client: redis::RedisResult<Client>) -> String {
    let mut connection = client.unwrap().get_multiplexed_async_connection().await.unwrap();
    cmd("ACL").arg("WHOAMI").query_async(&mut connection).await.unwrap()
}

#[tokio::test]
async fn by_each_kind_of_address_one_comes_in() {
    let rows = [
        (Redis::setup(), "default"),
        (Redis::setup().password("secret"), "default"),
        (Redis::setup().user("alice", "secret", &["+@all"]), "alice"),
        (Redis::setup().unix(), "default"),
        (Redis::setup().unix().password("secret"), "default"),
        (Redis::setup().unix().password("secret").user("alice", "other", &["+@all"]), "alice"),
    ];
    for (setup, user) in rows {
        let redis = setup.start();
        assert_eq!(who(Client::open(redis.url())).await, user, "{}", redis.url());
    }
}

#[tokio::test]
async fn with_tls_one_comes_in_who_knows_the_authority_and_nobody_else() {
    let redis = Redis::setup().tls().password("secret").start();
    let other = Redis::tls();
    let knowing = |redis: &Redis| TlsCertificates {
        client_tls: None,
        root_cert: Some(fs::read(redis.authority()).unwrap()),
    };
    assert_eq!(who(Client::build_with_tls(redis.url(), knowing(&redis))).await, "default");
    let url = redis.url().replace("127.0.0.1", "localhost");
    assert_eq!(who(Client::build_with_tls(url, knowing(&redis))).await, "default");
    let client = Client::build_with_tls(redis.url(), knowing(&other)).unwrap();
    let error = client.get_multiplexed_async_connection().await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    let plain = Client::open(redis.url().replace("rediss", "redis")).unwrap();
    assert!(plain.get_multiplexed_async_connection().await.is_err());
}

#[tokio::test]
async fn where_a_certificate_is_asked_for_one_comes_in_with_it_and_not_without() {
    let redis = Redis::setup().tls().args(&["--tls-auth-clients", "yes"]).start();
    let (certificate, key) = redis.certificate();
    let client_tls = redis::ClientTlsConfig {
        client_cert: fs::read(certificate).unwrap(),
        client_key: fs::read(key).unwrap(),
    };
    let root_cert = Some(fs::read(redis.authority()).unwrap());
    let with = TlsCertificates { client_tls: Some(client_tls), root_cert: root_cert.clone() };
    assert_eq!(who(Client::build_with_tls(redis.url(), with)).await, "default");
    let without = TlsCertificates { client_tls: None, root_cert };
    let client = Client::build_with_tls(redis.url(), without).unwrap();
    assert!(client.get_multiplexed_async_connection().await.is_err());
}

#[tokio::test]
async fn a_cluster_is_found_by_all_its_addresses_or_one() {
    let cluster = Cluster::start(3);
    let urls = cluster.urls();
    for urls in [urls.clone(), vec![urls[2].clone()]] {
        let mut all = ClusterClient::new(urls).unwrap().get_async_connection().await.unwrap();
        for key in 0..20 {
            let set: String = cmd("SET").arg(key).arg(1).query_async(&mut all).await.unwrap();
            assert_eq!(set, "OK");
        }
    }
}

#[tokio::test]
async fn a_master_is_found_by_its_sentinel() {
    let sentinel = Sentinel::start();
    let mut sentinels = Sentinels::build(vec![sentinel.url()]).unwrap();
    assert_eq!(who(sentinels.async_master_for(Sentinel::NAME, None).await).await, "default");
}
