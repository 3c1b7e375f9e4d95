//! A server with TLS.

use std::{fs, path::PathBuf, process::Command};

use super::*;

/// Certificates made for one test: of a server that is `127.0.0.1`, of its signer, of somebody else.
struct Certificates(PathBuf);

impl Certificates {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("seawall-tls-{:x}", fastrand::u64(..)));
        fs::create_dir_all(&directory).unwrap();
        let new = Self(directory);
        new.make("ca", "");
        new.make("other", "");
        new.make(
            "server",
            "-CA ca.crt -CAkey ca.key -addext subjectAltName=IP:127.0.0.1 \
             -addext basicConstraints=critical,CA:FALSE",
        );
        new
    }

    fn make(&self, name: &str, more: &str) {
        let arguments = format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
             -subj /CN={name} -keyout {name}.key -out {name}.crt {more}"
        );
        let made = Command::new("openssl")
            .current_dir(&self.0)
            .args(arguments.split_whitespace())
            .output()
            .expect("openssl, which tests/run installs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    fn pem(&self, name: &str) -> Option<Bytes> {
        Some(fs::read(self.0.join(name)).unwrap().into())
    }

    /// One that speaks TLS at `tls_url`, and is asked by the test without.
    fn server(&self, more: &str) -> Redis {
        let directory = self.0.display();
        let files = format!(
            "tls-cert-file {directory}/server.crt\ntls-key-file {directory}/server.key\n\
             tls-ca-cert-file {directory}/ca.crt\ntls-auth-clients no\ntls-port PORT\n{more}"
        );
        Redis::configured(&files, &[])
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tls_url(redis: &Redis) -> String {
    format!("rediss://127.0.0.1:{}", redis.port + 10_000)
}

fn trusting(url: &str, ca_pem: Option<Bytes>) -> Servers {
    let settings = Settings { ca_pem, ..Settings::default() };
    Servers::open(&Address::parse(url).unwrap(), settings).unwrap()
}

#[tokio::test]
async fn a_server_is_spoken_to_by_tls_if_it_is_who_it_should_be() {
    let certificates = Certificates::new();
    let mut redis = certificates.server("");
    let url = tls_url(&redis);
    let servers = trusting(&url, certificates.pem("ca.crt"));
    until("connected", SOON, async || servers.is_connected()).await;
    works(&servers).await.unwrap();
    servers.set(&key(1), Bytes::from(vec![b'x'; 3 << 20]), TTL).await.unwrap();
    assert_eq!(servers.get(&key(1)).await.unwrap().unwrap().len(), 3 << 20);

    let strangers = [
        trusting(&url, certificates.pem("other.crt")),
        // Whom the system trusts: not a signer of ours.
        trusting(&url, None),
        // It is not of this name.
        trusting(&url.replace("127.0.0.1", "localhost"), certificates.pem("ca.crt")),
    ];
    for stranger in strangers {
        until("refused", SOON, async || {
            chain(&stranger.get(&key(0)).await.unwrap_err()).contains("invalid peer certificate")
        })
        .await;
        assert!(!stranger.is_connected());
    }
    redis.kill();
    redis.restart();
    until("works again", SOON, async || works(&servers).await.is_ok()).await;
}

#[tokio::test]
async fn without_tls_on_one_of_the_sides_nothing_is_said() {
    let certificates = Certificates::new();
    let redis = certificates.server("requirepass hunter2\n");
    let tls = trusting(
        &format!("rediss://:hunter2@127.0.0.1:{}", redis.port),
        certificates.pem("ca.crt"),
    );
    let plain = open(&tls_url(&redis).replace("rediss", "redis"));
    for servers in [tls, plain] {
        until("refused", SOON, async || {
            let said = chain(&servers.get(&key(0)).await.unwrap_err());
            assert!(!said.contains("hunter2"));
            said.len() > "not connected: ".len()
        })
        .await;
        assert!(!servers.is_connected());
    }
}

#[tokio::test]
async fn what_is_no_certificate_is_refused_at_once() {
    let address = Address::parse("rediss://127.0.0.1:1").unwrap();
    for pem in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let ca_pem = Some(Bytes::from_static(pem.as_bytes()));
        let settings = Settings { ca_pem, ..Settings::default() };
        assert!(Servers::open(&address, settings).is_err(), "{pem}");
    }
}
