//! Redis by TLS.

use redis::{Client, ConnectionInfo, TlsCertificates};
use rustls::{
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::error::BoxError;

pub(super) fn available() -> Result<(), BoxError> {
    Ok(())
}

/// rustls panics where it cannot tell which provider of cryptography to use: several are compiled in,
/// and the process has chosen none. Where it has, that is the one.
pub(super) fn prepare() {
    if CryptoProvider::get_default().is_none() {
        // Another thread may have been faster.
        let _ = ring::default_provider().install_default();
    }
}

/// A client that trusts the certificates in `ca_pem`, or else the system's.
pub(super) fn client(info: ConnectionInfo, ca_pem: Option<&[u8]>) -> Result<Client, BoxError> {
    prepare();
    if let Some(pem) = ca_pem {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        if certificates.map_err(|_| "not a certificate in PEM")?.is_empty() {
            return Err("no certificate in the PEM".into());
        }
    }
    let certificates = TlsCertificates { client_tls: None, root_cert: ca_pem.map(<[u8]>::to_vec) };
    Ok(Client::build_with_tls(info, certificates)?)
}
